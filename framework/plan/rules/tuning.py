"""The rules of tuning: which tasks a training option and a tuning method support."""

from framework.build.task import open_task
from framework.config.schema import Config
from framework.core.problem import Problem


def tuning_rules(config: Config) -> list[Problem]:
    """Return the training option or the tuning method that does not support the model's task."""
    task = config.model.task
    suggested = open_task(task).suggested_training
    if suggested != "supervised" and not config.training.tasks:
        reason = f"{type(config.training).__name__} learns labels or answers; the model's task is {task}"
        return [Problem("training", reason, (f"training={suggested}",))]
    choices = (
        ("training", config.training.tasks, f"training={suggested}"),
        ("tuning", config.tuning.tasks, "tuning=lora"),
    )
    for group, tasks, override in choices:
        if tasks and task not in tasks:
            return [Problem(group, unsupported_task(tasks, task), (override,))]
    return []


def unsupported_task(tasks: tuple[str, ...], task: str) -> str:
    """Return the reason for refusing an option that supports *tasks* with a model of another *task*."""
    return f"supports {', '.join(tasks)}; the model's task is {task}"
