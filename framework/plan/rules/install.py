"""The rule of optional packages: what an option imports has to be installed."""

from framework.config.schema import Config
from framework.core.component import components
from framework.core.plugin_module import is_importable
from framework.core.problem import Problem
from framework.core.step import installed


def install_rules(config: Config) -> list[Problem]:
    """Return every missing package that an option needs, with the extra that installs it."""
    required = [
        (group, component.requires())
        for group in type(config).model_fields
        for component in components(getattr(config, group))
    ]
    engine = config.export.engine
    required += [("compression", option.requires_for(engine)) for option in config.reductions.values()]
    problems = [
        not_installed(group, distribution, extra)
        for group, extras in required
        for distribution, extra in extras.items()
        if not installed(distribution)
    ]
    return [*dict.fromkeys(problems), *([] if config.export.impossible else _engine_rule(engine))]


def _engine_rule(engine: str) -> list[Problem]:
    """Return an engine that is not there; it would be opened only after training."""
    if is_importable(engine, "framework.build.engine"):
        return []
    reason = f"its engine '{engine}' is not a module"
    return [
        Problem("export", reason, advice="correct 'engine' in the option's class, or install its package")
    ]


def not_installed(key: str, distribution: str, extra: str) -> Problem:
    """Return that the option at *key* needs *distribution*, which *extra* installs."""
    return Problem(key, f"requires {distribution}", advice=f"pip install 'gitune[{extra}]'")
