"""The rule of launchers: what a job elsewhere cannot reach."""

from framework.config.schema import Config
from framework.core.errors import SourceError
from framework.core.problem import Problem
from framework.core.source import Source


def launcher_rules(config: Config) -> list[Problem]:
    """Return what keeps the launcher from building this recipe."""
    sources = [component for component in config.walk() if isinstance(component, Source)]
    try:
        return config.launcher.problems(
            config.publish.url, sources, not config.environment.allow_unpinned_image
        )
    except SourceError:
        return []  # a missing file; source_rules reports it
