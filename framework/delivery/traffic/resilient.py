"""What traffic options that retry requests and eject pods have in common, as one set of fields."""

from typing import Annotated

from pydantic import Field

from framework.core.component import Component


class Resilience(Component):
    """Retries with exponential backoff, a connection pool and outlier detection."""

    retries: Annotated[int, Field(ge=0, le=10)] = 3
    """Retries of a request that failed before its answer started."""
    backoff_milliseconds: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Delay before the first retry, in milliseconds. The limit doubles with each retry, up to ten times this
    value; the actual delay is random below it, so that callers do not retry all at once."""
    eject_after: Annotated[int, Field(ge=1, le=100)] = 5
    """Consecutive errors (5xx or failed connections) after which a pod is ejected: it gets no requests."""
    eject_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    """Duration of an ejection, in seconds, multiplied by the number of the pod's ejections."""
    eject_percent: Annotated[int, Field(ge=1, le=100)] = 50
    """Largest share of a Service's pods ejected at once: 50 ejects one of two pods, never a single pod."""
    check_seconds: Annotated[int, Field(ge=1, le=300)] = 10
    """Seconds between checks for ejections and returns."""
    max_connections: Annotated[int, Field(ge=1)] = 1024
    """Connections to a Service from one proxy, at most."""
    max_pending: Annotated[int, Field(ge=1)] = 1024
    """Requests that wait for a connection, at most; more are rejected with 503."""
