"""What one HTTP request wants of the cache, and what it got of it."""

from contextvars import ContextVar
from dataclasses import dataclass, field

from framework.serving.telemetry.cache_metrics import Source


@dataclass
class CacheUse:
    """How a request uses the cache."""

    read: bool = True
    """Whether an earlier answer will do."""
    write: bool = True
    """Whether its answer may be kept."""
    sources: list[Source] = field(default_factory=list)
    """Where its answers came from, each source once."""

    def came_from(self, source: Source) -> None:
        """Note where an answer came from."""
        if source not in self.sources:
            self.sources.append(source)


_current: ContextVar[CacheUse] = ContextVar("cache_use")


def current_use() -> CacheUse:
    """Return the use of the HTTP request that is being answered."""
    return _current.get(None) or CacheUse()


def begin_use(use: CacheUse) -> None:
    """Make *use* that of the running task, and of the tasks that it starts."""
    _current.set(use)
