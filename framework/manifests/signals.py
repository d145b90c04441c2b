"""What a server says of itself, as PromQL: each server has metrics of its own names.

Analyses, autoscalers, alerts and dashboards ask here, so that they mean the same by a word. A selector
is what stands between the braces of a series, such as ``namespace="prod",service="x-canary"``; a window
is a PromQL duration, such as ``5m``.
"""

from dataclasses import dataclass

from framework.core import metrics


@dataclass(frozen=True)
class Signals:
    """The metrics of one server."""

    requests: str
    """A counter of answered requests."""
    failed: str
    """What a failed request's series of that counter has between its braces."""
    seconds: str
    """A histogram of the time that an answer takes, in seconds."""
    waiting: str
    """A gauge of the requests that wait or are being answered."""

    def request_rate(self, selector: str, window: str = "1m") -> str:
        """Return requests a second."""
        return f"sum(rate({self.requests}{{{selector}}}[{window}]))"

    def error_share(self, selector: str, window: str = "5m") -> str:
        """Return the share of failed requests, 0 to 1; nothing where there was no request."""
        failed = f"sum(rate({self.requests}{{{selector},{self.failed}}}[{window}])) or vector(0)"
        return f"({failed}) / (sum(rate({self.requests}{{{selector}}}[{window}])) > 0)"

    def latency(self, selector: str, quantile: float = 0.99, window: str = "5m") -> str:
        """Return a quantile of the time that an answer takes, in seconds."""
        buckets = f"sum by (le) (rate({self.seconds}_bucket{{{selector}}}[{window}]))"
        return f"histogram_quantile({quantile:g}, {buckets})"

    def in_flight(self, selector: str) -> str:
        """Return how many requests wait or are being answered."""
        return f"sum({self.waiting}{{{selector}}})"


GITUNE = Signals(
    requests=metrics.REQUESTS,
    failed='code=~"5.."',
    seconds=metrics.REQUEST_SECONDS,
    waiting=metrics.IN_FLIGHT,
)
"""Our own server."""
