"""Who sends a request."""

from dataclasses import dataclass

from starlette.requests import Request


@dataclass(frozen=True)
class Caller:
    """The owner of an API key."""

    name: str
    """The key's name; never the key."""


ANYBODY = Caller("")
"""The caller of a server without API keys."""


def caller_of(request: Request) -> Caller:
    """Return who sent *request*, as the middleware that read its key found out."""
    caller = getattr(request.state, "caller", ANYBODY)
    assert isinstance(caller, Caller)
    return caller
