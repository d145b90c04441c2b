"""What the server counts, and the names that scrapes, alert rules and dashboards share.

Knows Prometheus; knows neither HTTP frameworks nor models.
"""

from framework.core.release import Release

REQUESTS = "gitune_requests_total"
"""Counter by ``route`` and HTTP status ``code``."""
REQUEST_SECONDS = "gitune_request_seconds"
"""Histogram by ``route``: from the request's arrival to its last byte."""
IN_FLIGHT = "gitune_requests_in_flight"
"""Gauge: requests that wait or are being answered now."""
FIRST_TOKEN_SECONDS = "gitune_first_token_seconds"
"""Histogram: from the request's arrival to the first text of its answer, waiting included."""
PROMPT_TOKENS = "gitune_prompt_tokens_total"
"""Counter: tokens read, chat template included."""
COMPLETION_TOKENS = "gitune_completion_tokens_total"
"""Counter: tokens generated."""
BATCH_ROWS = "gitune_batch_rows"
"""Histogram: texts that a classifier answered in one batch."""
READY = "gitune_ready"
"""Gauge: 1 once the engine has produced its first token, else 0."""
RELEASE_INFO = "gitune_release_info"
"""Gauge, always 1, with the labels ``release``, ``digest``, ``engine`` and ``base_model``."""

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
