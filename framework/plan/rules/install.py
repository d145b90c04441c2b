"""Optional packages: which ones building a config needs, which are missing, and the rule of engines.

A plan needs none of them, so a missing one breaks no rule: the plan warns, and ``run`` refuses to build.
"""

from collections.abc import Iterable, Mapping

from framework.config.schema import Config
from framework.core.component import components
from framework.core.plugin_module import is_importable
from framework.core.problem import Problem
from framework.core.step import installed

_Packages = tuple[str, Mapping[str, str]]
"""A config key, and the extra of each distribution that its option needs."""


def needed_extras(config: Config) -> list[str]:
    """Return the extras that building *config* from this machine needs, sorted, installed or not."""
    packages = [*_keyed(config), *_used(config)]
    return sorted({extra for _, extras in packages for extra in extras.values()})


def missing_versions(config: Config) -> list[Problem]:
    """Return every missing package whose version a key needs: without it, no artifact can be found."""
    return _missing(_keyed(config))


def missing_packages(config: Config) -> list[Problem]:
    """Return every missing package that building *config* from this machine needs."""
    return _missing([*_keyed(config), *_used(config)])


def _keyed(config: Config) -> list[_Packages]:
    engine = config.export.engine
    compressions = [("compression", option.requires_for(engine)) for option in config.reductions.values()]
    return [*_of_components(config, type(config).model_fields, "requires"), *compressions]


def _used(config: Config) -> list[_Packages]:
    """Return what the worker uses; if it runs on another machine, only what this process uses."""
    groups = ("launcher", "publish", "tracking") if config.launcher.elsewhere else type(config).model_fields
    return _of_components(config, groups, "uses")


def _of_components(config: Config, groups: Iterable[str], method: str) -> list[_Packages]:
    return [
        (group, getattr(component, method)())
        for group in groups
        for component in components(getattr(config, group))
    ]


def _missing(packages: Iterable[_Packages]) -> list[Problem]:
    """Return one problem for each key and extra."""
    missing: dict[tuple[str, str], dict[str, None]] = {}
    for key, extras in packages:
        for distribution, extra in extras.items():
            if not installed(distribution):
                missing.setdefault((key, extra), {})[distribution] = None
    return [
        Problem(key, f"building needs {', '.join(names)}", advice=f"pip install 'gitune[{extra}]'")
        for (key, extra), names in missing.items()
    ]


def engine_rules(config: Config) -> list[Problem]:
    """Return an engine that is not there; it would be opened only after training."""
    engine = config.export.engine
    if config.export.impossible or is_importable(engine, "framework.build.engine"):
        return []
    reason = f"its engine '{engine}' is not a module"
    return [
        Problem("export", reason, advice="correct 'engine' in the option's class, or install its package")
    ]
