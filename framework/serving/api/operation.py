"""What one route takes and returns, declared beside it; the OpenAPI document is made from declarations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel
from starlette.routing import Route

EVENTS = "text/event-stream"
JSON = "application/json"
TEXT = "text/plain"


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    """One short line, without a period."""
    request: type[BaseModel] | None = None
    """The model that parses the body; None if there is none."""
    status: int = 200
    """The status of a right answer."""
    replies: Mapping[str, type[BaseModel] | None] = field(default_factory=dict)
    """The right answer by its content type; of a stream, one event's JSON. None: it is text."""
    errors: tuple[int, ...] = ()
    """The statuses of its own errors; ``EVERYWHERE`` adds those that all operations have."""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The JSON Schema of each parameter in the path, by its name."""
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The JSON Schema of each parameter in the query, by its name; all are optional."""
    narrowed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the JSON Schema of the body's properties has besides on this server, by their names."""
    example: Mapping[str, Any] | None = None
    """A body that works; the document adds the model's name."""
    public: bool = False
    """Whether it needs no API key."""
    says_text: bool = False
    """Whether its own errors are plain text, as probes' are."""


READS_BODY = (400, 413)
"""The errors of an operation that reads a body."""
ASKS_MODEL = (*READS_BODY, 404, 429, 503)
"""The errors of an operation that asks the model."""


class Endpoint(Protocol):
    """A class of routes."""

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What the routes do; empty if the document leaves them out."""

    @property
    def routes(self) -> Sequence[Route]:
        """The routes."""
