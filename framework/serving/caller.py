"""Who sends a request."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from starlette.requests import Request

Priority = Literal["low", "normal", "high"]
_WEIGHTS = {"low": 0.25, "normal": 1.0, "high": 4.0}


@dataclass(frozen=True)
class Caller:
    """The owner of an API key."""

    name: str
    """The key's name; never the key."""
    priority: Priority = "normal"
    """How large the caller's share is while others wait, too."""
    requests_per_minute: int | None = None
    """Most requests; None has no limit."""
    tokens_per_minute: int | None = None
    """Most tokens of prompts and answers together; None has no limit."""

    @property
    def weight(self) -> float:
        """The caller's share relative to that of a caller of normal priority.

        >>> Caller("a").weight, Caller("b", "high").weight
        (1.0, 4.0)
        """
        return _WEIGHTS[self.priority]


ANYBODY = Caller("")
"""The caller of a server without API keys."""


def caller_of(request: "Request") -> Caller:
    """Return who sent *request*, as the middleware that read its key found out."""
    caller = getattr(request.state, "caller", ANYBODY)
    assert isinstance(caller, Caller)
    return caller
