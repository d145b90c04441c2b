"""Metrics of the answer cache, of the fallback, and of calls to other services."""

from collections.abc import Callable
from typing import Literal, get_args

from framework.core import metric_names as names
from framework.serving.outbound.destination import Outcome

Source = Literal["memory", "redis", "joined", "model", "bypassed"]
"""Where an answer came from; ``joined`` is an equal request that was being answered already, ``bypassed`` the
model, without a look into the cache."""
FallbackReason = Literal["shed", "failed"]
"""Why a fallback answers: the request would have waited too long, or the engine failed."""
Failure = Literal["unreachable", "refused", "damaged", "unwritten"]
"""Why a look at Redis failed: no answer, an error as answer, a value that is not what was written, or too
many answers that still have to be written."""


class CacheMetrics:
    """What the cache saves."""

    def __init__(self, registry: object) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        assert isinstance(registry, CollectorRegistry)
        self.answers = Counter(names.CACHE_ANSWERS, "Answers by source.", ["source"], registry=registry)
        self._errors = Counter(names.CACHE_ERRORS, "Failed looks at Redis.", ["reason"], registry=registry)
        self._bytes = Gauge(names.CACHE_BYTES, "Bytes of answers in memory.", registry=registry)
        for source in get_args(Source):
            self.answers.labels(source)
        for reason in get_args(Failure):
            self._errors.labels(reason)

    def failed(self, reason: Failure) -> None:
        """Count a failed look at Redis."""
        self._errors.labels(reason).inc()

    def watch_size(self, size: Callable[[], float]) -> None:
        """Expose the bytes in memory; *size* is called at each scrape."""
        self._bytes.set_function(size)


class FallbackMetrics:
    """Who answers in place of the release."""

    def __init__(self, registry: object) -> None:
        from prometheus_client import CollectorRegistry, Counter

        assert isinstance(registry, CollectorRegistry)
        self._answers = Counter(
            names.FALLBACKS, "Requests for the fallback.", ["reason", "outcome"], registry=registry
        )
        for reason in get_args(FallbackReason):
            for outcome in ("answered", "unanswered"):
                self._answers.labels(reason, outcome)
        self._tokens = Counter(names.FALLBACK_TOKENS, "Tokens of the fallback.", ["kind"], registry=registry)
        for kind in ("prompt", "completion"):
            self._tokens.labels(kind)

    def count(self, reason: FallbackReason, *, answered: bool) -> None:
        """Count a request that the fallback was asked to answer."""
        self._answers.labels(reason, "answered" if answered else "unanswered").inc()

    def add_tokens(self, prompt: int, completion: int) -> None:
        """Count the tokens of one answer, as the fallback counts them."""
        self._tokens.labels("prompt").inc(prompt)
        self._tokens.labels("completion").inc(completion)


class OutboundMetrics:
    """How calls to other services end."""

    def __init__(self, registry: object) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        assert isinstance(registry, CollectorRegistry)
        self._calls = Counter(
            names.OUTBOUND_CALLS, "Calls to other services.", ["destination", "outcome"], registry=registry
        )
        self._open = Gauge(
            names.BREAKER_OPEN, "Whether a service is left alone.", ["destination"], registry=registry
        )

    def observe(self, destination: str, outcome: Outcome) -> None:
        """Count one attempt; only a failure or a success changes what is known of the service."""
        self._calls.labels(destination, outcome).inc()

    def watch(self, destination: str, is_open: Callable[[], bool]) -> None:
        """Expose a service's breaker; *is_open* is called at each scrape."""
        self._open.labels(destination).set_function(lambda: float(is_open()))
        for outcome in get_args(Outcome):
            self._calls.labels(destination, outcome)
