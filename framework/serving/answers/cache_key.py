"""Which requests have an answer that can be kept, and under which key."""

import hashlib
import json
from typing import Any

from framework.serving.answers import Generation


def is_deterministic(sampling: dict[str, Any]) -> bool:
    """Return whether equal requests with this sampling ask for the same answer.

    A seed asks for it, whatever else is in the batch; that the engine's own answer may differ a little in
    another batch is a reason to keep the first one.

    >>> is_deterministic({"temperature": 0.0, "seed": None}), is_deterministic({"temperature": 1, "seed": 3})
    (True, True)
    >>> is_deterministic({"temperature": 0.5, "seed": None})
    False
    """
    return sampling.get("temperature") in (None, 0) or sampling.get("seed") is not None


def generation_key(digest: str, asked: Generation) -> str:
    """Return the key of the model *digest*'s answer to a request, 64 hex digits."""
    return _key("generate", digest, [asked.payload, asked.limit, asked.limit_is_own])


def text_key(digest: str, payload: Any) -> str:
    """Return the key of the model *digest*'s answer to one text of ``Texts``, 64 hex digits."""
    return _key("text", digest, payload)


def _key(kind: str, digest: str, content: Any) -> str:
    # Keys are not sorted: a chat template writes a tool's in their order.
    text = json.dumps([kind, digest, content], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
