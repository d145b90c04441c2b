"""The rules of deployment targets: which export, task and tuning method each of them serves.

Pure, a part of ``framework.plan.rules``, which see.
"""

from framework.config.schema import Config


def deployment_rules(config: Config) -> list[str]:
    """Return what the chosen target cannot serve of what this recipe builds, or not as it is set up."""
    target, task = config.deployment, config.model.task
    found = target.problems(config.delivery)
    if target.tasks and task not in target.tasks:
        return [
            *found,
            f"deployment: this target answers {', '.join(target.tasks)}, the model is for {task}; "
            "set deployment=kubernetes",
        ]
    found += target.export_problems(config.export, config.serving)
    if not target.takes_adapters and not config.tuning.merges:
        found.append(
            "deployment: what this tuning method trains cannot become part of the weights, and this target "
            "would serve the base model without it; set tuning=lora or deployment=kubernetes"
        )
    return found
