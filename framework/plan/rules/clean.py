"""The rules of cleaning: which options work together, and with which settings."""

from framework.build.clean import CorpusClean, RowClean
from framework.config.schema import Config
from framework.core.problem import Problem
from framework.plan.rules.choice import choice


def clean_rules(config: Config) -> list[Problem]:
    """Return each cleaning option that cannot be applied."""
    problems = []
    for name, option in config.clean.items():
        key = f"clean.{name}"
        problems += [problem.below(key, type(option).model_fields) for problem in option.problems()]
        if option.changes_nothing:
            if len(config.clean) > 1:
                others = choice("clean", (other for other in config.clean if other != name))
                reason = "cannot be combined with other cleaning options"
                problems.append(Problem(key, reason, (others,)))
        elif not isinstance(option, RowClean | CorpusClean):
            reason = f"{type(option).__name__} is neither a RowClean nor a CorpusClean"
            problems.append(Problem(key, reason, advice="derive the class from one of them"))
    return problems
