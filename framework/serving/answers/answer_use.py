"""How one HTTP request is to be answered, and who answered it."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from framework.serving.telemetry.cache_metrics import Source

SOURCE = "x-cache"
"""The header that says where an answer came from."""
FALLBACK = "x-gitune-fallback"
"""In an answer: why another model answered. In a request: it is another server's fallback, and must not cause
one more."""


class Substitute(NamedTuple):
    """Who answered in place of the release."""

    model: str
    """Its name."""
    digest: str
    """What tells its answers from others', as ``sha256:<hex>``."""
    reason: str
    """Why: ``shed`` or ``failed``."""


@dataclass(eq=False)
class AnswerUse:
    """What a client wants of the cache and the fallback, and what it got of them."""

    read: bool = True
    """Whether an earlier answer will do."""
    write: bool = True
    """Whether its answer may be kept."""
    falls_back: bool = True
    """Whether another model may answer; not for a request that is another server's fallback."""
    sources: list[Source] = field(default_factory=list)
    """Where its answers came from, each source once."""
    substitute: Substitute | None = None
    """Who answered in place of the release."""

    def came_from(self, source: Source) -> None:
        """Note where an answer came from."""
        if source not in self.sources:
            self.sources.append(source)


_current: ContextVar[AnswerUse] = ContextVar("answer_use")


def current_use() -> AnswerUse:
    """Return the use of the HTTP request that is being answered."""
    return _current.get(None) or AnswerUse()


def begin_use(use: AnswerUse) -> None:
    """Make *use* that of the running task, and of the tasks that it starts."""
    _current.set(use)
