"""The option ``serving.drift``."""

from collections import deque
from typing import Annotated

from pydantic import Field

from framework.core.component import Component
from framework.core.errors import FrameworkError, ServeError
from framework.requestlog.drift import Sample
from framework.requestlog.log_folder import LogFolder
from framework.requestlog.samples import sample_of


class DriftOptions(Component):
    """What the newest requests are compared with, in the gauges ``gitune_drift_…``."""

    window: Annotated[int, Field(ge=50, le=100_000)] = 500
    """How many of the newest requests are compared. Their words are kept in memory."""
    reference: str | None = None
    """A request log, whose newest rows, ten windows of them, are what is usual: a folder or a URL. None takes
    the first ``window`` requests of each server, which a restart forgets."""


def usual(options: DriftOptions) -> list[Sample]:
    """Return the samples of the reference; none if the server's own first requests are it.

    Raises:
        ServeError: the log cannot be read.
    """
    if options.reference is None:
        return []
    try:
        rows = (row for _, _, row in LogFolder(options.reference).read("requests"))
        return [sample_of(row) for row in deque(rows, maxlen=10 * options.window)]
    except FrameworkError as error:
        raise ServeError(f"serving.drift.reference: {error}") from error
