"""What one server accepts and shows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BODY = 4 * 2**20
"""Most bytes of a request's body; a larger one is answered with 413."""
MAX_HEAD = 32 * 2**10
"""Most bytes of a request's line and headers."""
MAX_HEADERS = 100
"""Most headers of a request."""
CHARACTERS_PER_TOKEN = 16
"""Text has 3 to 6 characters a token: a prompt with this many for each token of the context cannot fit."""


@dataclass(frozen=True)
class Limits:
    """The options of ``framework.serving.http.HttpServing`` that routes and middleware read."""

    max_new_tokens: int
    """Most tokens of one answer."""
    max_prompt_characters: int
    """Most characters of one prompt; 0 depends on the model's context."""
    max_wait_seconds: float
    """Longest expected wait of an accepted request."""
    grace_seconds: int
    """Seconds that accepted requests have after SIGTERM."""
    access_log: str = "none"
    """How requests are logged: ``none`` or ``json``."""
    page: bool = True
    """Whether there are pages for people."""
    engine_timeout: float = 60
    """Seconds without a sign of life after which the model's process is killed."""
    queue_timeout: float = 180
    """Longest wait of an accepted request for the first sign of its answer, from its arrival."""
    receive_seconds: float = 20
    """Longest time from a request's first byte, or from the connection's begin, to its last byte."""
    keep_alive_seconds: int = 5
    """How long a connection without a request stays open after an answer."""
    max_connections: int = 1000
    """Most open connections."""
    keys: Path | None = None
    """The file with the hashes of API keys and their limits."""

    def characters(self, context: int | None) -> int:
        """Return the most characters of one prompt for a model whose context has *context* tokens.

        >>> Limits(256, 0, 10, 20).characters(2048), Limits(256, 500, 10, 20).characters(2048)
        (32768, 500)
        """
        automatic = MAX_BODY if context is None else CHARACTERS_PER_TOKEN * context
        return self.max_prompt_characters or automatic


def count_characters(value: Any) -> int:
    """Return the characters of every text in a JSON value.

    >>> count_characters([{"role": "user", "content": "hello"}, None, 3])
    9
    """
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(map(count_characters, parts))
