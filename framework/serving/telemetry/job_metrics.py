"""Metrics of background jobs, of their webhooks, and of the file of API keys.

All series exist from the start: a rate does not see a counter that begins at 1.
"""

from typing import Literal, get_args

from framework.core import metric_names as names

WebhookOutcome = Literal["ok", "failed", "given_up"]
"""How a call ended; one that failed is made again, one that was given up is not."""


class JobMetrics:
    """What becomes of background jobs."""

    def __init__(self, registry: object) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        assert isinstance(registry, CollectorRegistry)
        self.queued = Gauge(names.JOBS_QUEUED, "Background jobs that wait.", registry=registry)
        self.oldest = Gauge(
            names.JOBS_OLDEST_SECONDS, "Seconds that the oldest job waits.", registry=registry
        )
        self.ended = Counter(names.JOBS_ENDED, "Background jobs ended.", ["status"], registry=registry)
        self.taken_back = Counter(
            names.JOBS_TAKEN_BACK, "Background jobs that lost who ran them.", registry=registry
        )
        self._webhooks = Counter(names.WEBHOOK_CALLS, "Calls of webhooks.", ["outcome"], registry=registry)
        for status in ("completed", "failed", "cancelled", "incomplete"):
            self.ended.labels(status)
        for outcome in get_args(WebhookOutcome):
            self._webhooks.labels(outcome)

    def called(self, outcome: WebhookOutcome) -> None:
        """Count one call of a webhook."""
        self._webhooks.labels(outcome).inc()


class KeyMetrics:
    """Whether the file of API keys can be read."""

    def __init__(self, registry: object) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        assert isinstance(registry, CollectorRegistry)
        self._reloads = Counter(
            names.KEY_RELOADS, "Changes of the file of API keys.", ["result"], registry=registry
        )
        self._refused = Gauge(
            names.KEYS_REFUSED, "Whether the file of API keys is refused.", registry=registry
        )
        for result in ("loaded", "refused"):
            self._reloads.labels(result)

    def reloaded(self, result: str) -> None:
        """Count a change of the file: ``loaded`` or ``refused``."""
        self._reloads.labels(result).inc()
        self._refused.set(result == "refused")
