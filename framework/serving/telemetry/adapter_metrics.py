"""Metrics of the adapters that are served beside a release; the release's own count their answers too."""

from collections.abc import Iterable, Sequence
from typing import Literal

from framework.core import metric_names as names
from framework.serving.request_record import current_request

Kind = Literal["prompt", "completion"]


class AdapterMetrics:
    """Counts the requests, tokens and first tokens of each adapter, and nothing of the release itself."""

    def __init__(self, registry: object, first_token_bounds: Sequence[float]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        assert isinstance(registry, CollectorRegistry)
        labels = ["adapter", "code", "refused"]
        self._requests = Counter(names.ADAPTER_REQUESTS, "Requests by adapter.", labels, registry=registry)
        self._tokens = Counter(
            names.ADAPTER_TOKENS, "Tokens by adapter.", ["adapter", "kind"], registry=registry
        )
        self._first_token = Histogram(
            names.ADAPTER_FIRST_TOKEN_SECONDS,
            "Seconds to the first text, by adapter.",
            ["adapter"],
            registry=registry,
            buckets=first_token_bounds,
        )

    def expect(self, adapters: Iterable[str]) -> None:
        """Expose the zeros of *adapters*, all that can be counted."""
        for adapter in adapters:
            self._first_token.labels(adapter)
            for kind in ("prompt", "completion"):
                self._tokens.labels(adapter, kind)

    def answered(self, code: str, refused: str) -> None:
        """Count the current request by its status; see ``metric_names.REQUESTS``."""
        if adapter := _current():
            self._requests.labels(adapter, code, refused).inc()

    def add_tokens(self, kind: Kind, tokens: int) -> None:
        """Count tokens of the current request."""
        if adapter := _current():
            self._tokens.labels(adapter, kind).inc(tokens)

    def began(self, seconds: float) -> None:
        """Count how long the current request has waited for its first text."""
        if adapter := _current():
            self._first_token.labels(adapter).observe(seconds)


def _current() -> str:
    """Return the adapter that the current request names; empty for the release itself."""
    record = current_request()
    return "" if record is None else record.adapter
