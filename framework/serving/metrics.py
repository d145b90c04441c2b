"""What the server counts; the names lie in ``framework.core.metrics``.

Knows Prometheus; knows neither HTTP frameworks nor models.
"""

from framework.core.metrics import (
    BATCH_ROWS,
    COMPLETION_TOKENS,
    FIRST_TOKEN_SECONDS,
    IN_FLIGHT,
    PROMPT_TOKENS,
    READY,
    RELEASE_INFO,
    REQUEST_SECONDS,
    REQUESTS,
)
from framework.core.release import Release

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Bucket bounds of the durations: classifiers answer in milliseconds, long answers take minutes."""
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Bucket bounds of the batch sizes."""


class Metrics:
    """The counters of one server process, in a registry of their own."""

    def __init__(self, release: Release) -> None:
        from prometheus_client import (
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            disable_created_metrics,
        )

        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series beside each, of no use in a rule
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(REQUESTS, "Requests answered.", ["route", "code"], registry=registry)
        self.seconds = Histogram(
            REQUEST_SECONDS, "Seconds to the last byte.", ["route"], registry=registry, buckets=SECONDS
        )
        self.in_flight = Gauge(IN_FLIGHT, "Requests that wait or are being answered.", registry=registry)
        self.first_token = Histogram(
            FIRST_TOKEN_SECONDS, "Seconds to the first text.", registry=registry, buckets=SECONDS
        )
        self.prompt_tokens = Counter(PROMPT_TOKENS, "Tokens read.", registry=registry)
        self.completion_tokens = Counter(COMPLETION_TOKENS, "Tokens generated.", registry=registry)
        self.batch_rows = Histogram(BATCH_ROWS, "Texts in a batch.", registry=registry, buckets=ROWS)
        self.ready = Gauge(READY, "Whether the engine has produced its first token.", registry=registry)
        labels = ["release", "digest", "engine", "base_model"]
        info = Gauge(RELEASE_INFO, "What is served.", labels, registry=registry)
        info.labels(release.name, release.digest, release.engine, release.base_model).set(1)
