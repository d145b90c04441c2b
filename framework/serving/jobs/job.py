"""A job: one request body of an endpoint, answered in the background."""

import uuid
from dataclasses import dataclass, field
from typing import Any

QUEUED, IN_PROGRESS, COMPLETED, FAILED, CANCELLED, INCOMPLETE = (
    "queued",
    "in_progress",
    "completed",
    "failed",
    "cancelled",
    "incomplete",
)
OPEN = (QUEUED, IN_PROGRESS)
"""Statuses of a job without a result."""
ENDED = (COMPLETED, FAILED, CANCELLED, INCOMPLETE)
"""Statuses that never change."""


@dataclass(frozen=True)
class NewJob:
    """What a client wants to have answered."""

    path: str
    """The endpoint, such as ``/v1/chat/completions``."""
    body: dict[str, Any]
    """The endpoint's request body."""
    owner: str
    """Name of the API key that sent it; only this key can read the job."""
    shown: dict[str, Any] = field(default_factory=dict)
    """What the client is told about its request beside the result."""
    key: str | None = None
    """The client's idempotency key: the owner's second job with the same key is the first one."""
    webhook: str | None = None
    """The URL to call when the job has ended."""


@dataclass(frozen=True)
class Job:
    """One row of the table. Times are Unix seconds by the machines' clocks."""

    id: str
    owner: str
    path: str
    body: dict[str, Any]
    shown: dict[str, Any]
    status: str
    created: float
    deadline: float
    """When it fails if it has no result by then."""
    ended: float | None
    attempts: int
    """How often it was begun and lost, with the one that runs."""
    result: dict[str, Any] | None
    """The endpoint's answer; None while there is none."""
    error: dict[str, Any] | None
    """OpenAI's error object of a failed job."""
    webhook: str | None
    webhook_attempts: int


def new_id(prefix: str) -> str:
    """Return the id of a new job, which cannot be guessed.

    >>> new_id("job")[:4], len(new_id("job"))
    ('job_', 36)
    """
    return f"{prefix}_{uuid.uuid4().hex}"


def outcome(answer: dict[str, Any]) -> str:
    """Return the status of a job whose endpoint gave *answer*: an answer that its limit cut is incomplete.

    >>> outcome({"choices": [{"finish_reason": "length"}]}), outcome({"status": "completed"}), outcome({})
    ('incomplete', 'completed', 'completed')
    """
    cut = any(choice.get("finish_reason") == "length" for choice in answer.get("choices") or ())
    status = answer.get("status")
    return INCOMPLETE if cut else status if status in (INCOMPLETE, FAILED) else COMPLETED
