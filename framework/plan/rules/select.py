"""The rules of selecting: which options work together."""

from framework.config.schema import Config
from framework.core.problem import Problem


def select_rules(config: Config) -> list[Problem]:
    """Return each selecting option that cannot be applied."""
    problems = []
    for name, option in config.select.items():
        if option.changes_nothing and len(config.select) > 1:
            others = [other for other in config.select if other != name]
            chosen = others[0] if len(others) == 1 else f"[{','.join(others)}]"
            reason = "cannot be combined with other selecting options"
            problems.append(Problem(f"select.{name}", reason, (f"select={chosen}",)))
    return problems
