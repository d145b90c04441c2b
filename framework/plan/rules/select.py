"""The rules of selecting: which options work together, and with which rows."""

from framework.config.schema import Config
from framework.core.problem import Problem
from framework.plan.rules.choice import choice
from framework.plan.rules.tuning import unsupported_task


def select_rules(config: Config) -> list[Problem]:
    """Return each selecting option that cannot be applied."""
    problems = []
    for name, option in config.select.items():
        without = (choice("select", (other for other in config.select if other != name)),)
        if option.changes_nothing and len(config.select) > 1:
            problems.append(
                Problem(f"select.{name}", "cannot be combined with other selecting options", without)
            )
        if option.tasks and config.model.task not in option.tasks:
            reason = unsupported_task(option.tasks, config.model.task)
            problems.append(Problem(f"select.{name}", reason, without))
    return problems
