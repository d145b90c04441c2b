"""The rules of phases, and how other rules are applied to each training of a recipe.

A recipe trains once, once per phase, or once more per compression. Each training is checked as if it were the
whole recipe; the problems then get the keys of the place where it is configured.
"""

from collections.abc import Callable
from dataclasses import replace

from framework.build.compression import ModelCompression
from framework.config.phases import PHASED
from framework.config.schema import Config, Phase
from framework.core.problem import Problem, overridden_groups
from framework.plan.rules.compression import without

Rules = Callable[[Config], list[Problem]]


def phase_rules(config: Config) -> list[Problem]:
    """Return each phase before the last whose training cannot be merged for the next one."""
    *earlier, _ = config.phases or ("",)
    return [
        Problem(
            "tuning",
            f"{type(config.phases[name].tuning).__name__} does not merge, so the next phase cannot train on "
            "its weights",
            ("tuning=lora",),
            "make this phase the last",
        ).within(f"phases.{name}", PHASED)
        for name in earlier
        if not config.phases[name].tuning.merges
    ]


def in_each_phase(config: Config, rules: Rules) -> list[Problem]:
    """Apply *rules* to every phase, or to a recipe without phases."""
    if not config.phases:
        return rules(config)
    return [problem for name in config.phases for problem in _in_phase(config, name, rules)]


def in_last_phase(config: Config, rules: Rules) -> list[Problem]:
    """Apply *rules* to what is exported: the last phase, or a recipe without phases."""
    return _in_phase(config, [*config.phases][-1], rules) if config.phases else rules(config)


def _in_phase(config: Config, name: str, rules: Rules) -> list[Problem]:
    problems = rules(config.during(config.phases[name]))
    return [problem.within(f"phases.{name}", PHASED) for problem in problems]


def in_each_recovery(config: Config, rules: Rules) -> list[Problem]:
    """Apply *rules* to the training of each compression that has one.

    The compression decides what is trained, so that no override of ``tuning`` fixes anything; where nothing
    else does, the compression is left out.
    """
    problems = []
    data = [*config.phases.values()][-1].data if config.phases else config.data
    for name, option in config.compression.items():
        if isinstance(option, ModelCompression) and option.tuning is not None and option.training is not None:
            phase = Phase(data=data, tuning=option.tuning, training=option.training)
            for problem in rules(config.during(phase)):
                kept = [
                    override for override in problem.overrides if "tuning" not in overridden_groups(override)
                ]
                if problem.overrides and not kept:
                    kept = [without(config, name)]
                kept_problem = replace(problem, overrides=tuple(kept))
                problems.append(kept_problem.within(f"compression.{name}", ("training",)))
    return problems
