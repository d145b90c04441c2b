"""What is known of the request that is being answered: its id, and the tokens that it has cost so far.

Routes, logs and traces read it from the context of their task, so nobody has to pass it along. Tasks that a
request starts inherit its context; work that outlives the request keeps the id.
"""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class RequestRecord:
    """One request."""

    id: str
    """The client's ``X-Request-Id``, or one that the server made."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    adapter: str = ""
    """The configured name of the adapter that answers; empty for the release itself."""


_CURRENT: ContextVar[RequestRecord | None] = ContextVar("request", default=None)


def begin_request(record: RequestRecord) -> None:
    """Make *record* the current task's request. uvicorn answers each request in a task of its own."""
    _CURRENT.set(record)


def current_request() -> RequestRecord | None:
    """Return the request that the current task answers; None outside of requests."""
    return _CURRENT.get()
