"""The rules of exports: which model, rows, machine and deployment each of them supports."""

from framework.config.schema import Config
from framework.core.problem import Problem
from framework.plan.rules.compression import suggestion
from framework.plan.rules.deployment import gpu_override
from framework.plan.rules.tuning import unsupported_task


def export_rules(config: Config) -> list[Problem]:
    """Return what the chosen export cannot do with this model, these rows and this machine."""
    task, export = config.model.task, config.export
    if task not in export.tasks:
        return [Problem("export", unsupported_task(export.tasks, task), (suggestion(config),))]
    if export.impossible:
        return [export.impossible]
    problems = export.problems(config.environment.hardware.device, config.data.max_length)
    if export.needs_gpu and not config.deployment.gpus:
        reason = f"{export.engine} requires a GPU, and the pods have none"
        problems.append(Problem("deployment.gpus", reason, (gpu_override(config),)))
    return problems


def unmerged_rules(config: Config) -> list[Problem]:
    """Return an export that needs merged weights after a tuning method that does not merge."""
    if config.tuning.merges or config.model.task in config.export.unmerged:
        return []
    plain = " compression=none" if config.reshapings or config.reductions else ""
    reason = f"{type(config.tuning).__name__} does not merge, and this export requires merged weights"
    return [Problem("tuning", reason, (f"export=transformers{plain}", "tuning=lora"))]


def export_cautions(config: Config) -> list[Problem]:
    """Return an export that this machine can build but not run."""
    device, export = config.environment.hardware.device, config.export
    engine = export.engine_on(device)
    if engine == export.engine:
        return []
    reason = (
        f"environment.hardware.device={device} cannot run {export.engine}; it is built, and {engine} "
        "evaluates, compares and times its graph instead"
    )
    return [Problem("export", reason)]
