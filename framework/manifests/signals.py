"""What a server says of itself, as PromQL: each server has metrics of its own names.

Analyses, autoscalers, alerts and dashboards ask here, so that they mean the same by a word. A selector
is what stands between the braces of a series, such as ``namespace="prod",service="x-canary"``; a window
is a PromQL duration, such as ``5m``. Where a server does not tell something, its answer is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from framework.core import metric_names as metrics

_ONCE = "max without (service, job, endpoint)"
"""A pod behind two Services is scraped through both; so it counts once."""


@dataclass(frozen=True)
class Series:
    """One metric, or those of its series that have the given labels."""

    name: str
    matchers: str = ""
    """What stands between its braces besides the selector."""

    def of(self, selector: str, suffix: str = "") -> str:
        """Return the series of *selector*; *suffix* is a histogram's ``_bucket``, ``_sum`` or ``_count``."""
        inside = ",".join(part for part in (selector, self.matchers) if part)
        return f"{self.name}{suffix}{{{inside}}}"

    def rate(self, selector: str, window: str, suffix: str = "", by: str | None = None) -> str:
        """Return its growth a second of all pods together, or of those with the same label *by*."""
        total = "sum" if by is None else f"sum by ({by}) "
        return f"{total}({_ONCE} (rate({self.of(selector, suffix)}[{window}])))"


@dataclass(frozen=True)
class Signals:
    """The metrics of one server."""

    requests: tuple[Series, ...]
    """Counters whose sum is the answered requests."""
    failures: Series
    """A counter of those that failed through no fault of the caller."""
    seconds: Series
    """How long answers take: a histogram, or a summary with the label ``quantile``."""
    waiting: tuple[Series, ...]
    """Gauges whose sum is the requests that wait or are being answered, as far as they are told."""
    queued: Series
    """A gauge of the requests that the model has not begun."""
    queue_age: Series
    """How long requests wait: a gauge of the oldest, a histogram, or a summary."""
    timeouts: Series | None = None
    """A counter of the requests that somebody gave up waiting for."""
    bad_outputs: Series | None = None
    """A counter of answers that are plainly bad."""
    outputs: Series | None = None
    """A counter of the answers among which those are."""
    bad_in_a_row: Series | None = None
    """A gauge of the bad answers since the last good one."""
    prompt_tokens: Series | None = None
    """A histogram of the tokens read for one request."""
    completion_tokens: Series | None = None
    """A histogram of the tokens of one answer."""
    diversity: Series | None = None
    """A histogram of how varied answers are, 0 to 1."""
    offline: Series | None = None
    """A gauge, by ``metric``, of what was measured before the release was published."""
    ready: Series = Series("up")
    """A gauge that is 1 where a pod can answer."""
    kind: str = "histogram"
    """What ``seconds`` is: ``histogram`` or ``summary``."""
    age_kind: str = "gauge"
    """What ``queue_age`` is: ``gauge``, ``histogram`` or ``summary``."""
    unit: float = 1.0
    """Of the two durations in seconds."""

    def request_rate(self, selector: str, window: str = "1m") -> str:
        """Return requests a second."""
        return _added([series.rate(selector, window) for series in self.requests])

    def error_share(self, selector: str, window: str = "5m") -> str:
        """Return the share of failed requests, 0 to 1; nothing where there was no request."""
        return self._share(self.failures, selector, window)

    def timeout_share(self, selector: str, window: str = "5m") -> str | None:
        """Return the share of requests that took too long for somebody, 0 to 1."""
        return None if self.timeouts is None else self._share(self.timeouts, selector, window)

    def bad_share(self, selector: str, window: str = "5m") -> str | None:
        """Return the share of plainly bad answers, 0 to 1; nothing where there was no answer."""
        if self.bad_outputs is None or self.outputs is None:
            return None
        bad = f"({self.bad_outputs.rate(selector, window)} or vector(0))"
        return f"{bad} / ({self.outputs.rate(selector, window)} > 0)"

    def latency(self, selector: str, quantile: float = 0.99, window: str = "5m") -> str:
        """Return a quantile of the time that an answer takes, in seconds.

        Of a summary it is the slowest pod's, since quantiles cannot be added.
        """
        return self._scaled(_quantile(self.seconds, self.kind, selector, quantile, window))

    def in_flight(self, selector: str) -> str:
        """Return how many requests wait or are being answered."""
        return _added([f"sum({_ONCE} ({series.of(selector)}))" for series in self.waiting])

    def queue_length(self, selector: str) -> str:
        """Return how many requests the model has not begun."""
        return f"sum({_ONCE} ({self.queued.of(selector)}))"

    def queue_seconds(self, selector: str, window: str = "5m") -> str:
        """Return how long the oldest waits, or the 99th percentile of the waits, in seconds."""
        return self._scaled(_quantile(self.queue_age, self.age_kind, selector, 0.99, window))

    def ready_pods(self, selector: str) -> str:
        """Return how many pods can answer."""
        return f"sum({_ONCE} ({self.ready.of(selector)}))"

    def not_ready(self, selector: str) -> str:
        """Return something only where no pod can answer."""
        return f"absent({self.ready.of(selector)} == 1)"

    def mean(self, series: Series, selector: str, window: str = "10m") -> str:
        """Return the mean of what a histogram observed; nothing where it observed nothing."""
        total, count = (series.rate(selector, window, suffix) for suffix in ("_sum", "_count"))
        return f"{total} / ({count} > 0)"

    def _share(self, part: Series, selector: str, window: str) -> str:
        return f"({part.rate(selector, window)} or vector(0)) / ({self.request_rate(selector, window)} > 0)"

    def _scaled(self, query: str) -> str:
        return query if self.unit == 1 else f"{query} * {self.unit:g}"


def _added(parts: Sequence[str]) -> str:
    """Return the sum of *parts*, nothing only where there is none of the first."""
    first, *rest = parts
    return f"({first} + {' + '.join(f'({part} or vector(0))' for part in rest)})" if rest else first


def _quantile(series: Series, kind: str, selector: str, quantile: float, window: str) -> str:
    if kind == "gauge":
        return f"max({series.of(selector)})"
    if kind == "summary":
        return "max(" + Series(series.name, f'quantile="{quantile:g}"').of(selector) + ")"
    buckets = f"sum by (le) ({_ONCE} (rate({series.of(selector, '_bucket')}[{window}])))"
    return f"histogram_quantile({quantile:g}, {buckets})"


GITUNE = Signals(
    requests=(Series(metrics.REQUESTS),),
    failures=Series(metrics.REQUESTS, 'code=~"5.."'),
    seconds=Series(metrics.REQUEST_SECONDS),
    waiting=(Series(metrics.IN_FLIGHT),),
    queued=Series(metrics.WAITING),
    queue_age=Series(metrics.OLDEST_WAITING_SECONDS),
    timeouts=Series(metrics.TIMEOUTS),
    bad_outputs=Series(metrics.BAD_OUTPUTS),
    outputs=Series(f"{metrics.REQUEST_COMPLETION_TOKENS}_count"),
    bad_in_a_row=Series(metrics.BAD_OUTPUTS_IN_A_ROW),
    prompt_tokens=Series(metrics.REQUEST_PROMPT_TOKENS),
    completion_tokens=Series(metrics.REQUEST_COMPLETION_TOKENS),
    diversity=Series(metrics.OUTPUT_DIVERSITY),
    offline=Series(metrics.RELEASE_METRIC),
    ready=Series(metrics.READY),
)
"""Our own server."""

_HANDLERS = 'handler=~"/v1/.+",handler!="/v1/models"'

VLLM = Signals(
    # The engine counts only what it finished; failures are counted by the HTTP layer, which has all.
    requests=(Series("http_requests_total", _HANDLERS),),
    failures=Series("http_requests_total", f'{_HANDLERS},status="5xx"'),
    seconds=Series("vllm:e2e_request_latency_seconds"),
    waiting=(Series("vllm:num_requests_running"), Series("vllm:num_requests_waiting")),
    queued=Series("vllm:num_requests_waiting"),
    queue_age=Series("vllm:request_queue_time_seconds"),
    age_kind="histogram",
    timeouts=Series("vllm:request_success_total", 'finished_reason="abort"'),
    # It does not look at texts; an answer that was cut, whoever set the limit, or that
    # went round in circles is the nearest to a bad one.
    bad_outputs=Series("vllm:request_success_total", 'finished_reason=~"length|repetition"'),
    outputs=Series("vllm:request_success_total"),
    prompt_tokens=Series("vllm:request_prompt_tokens"),
    completion_tokens=Series("vllm:request_generation_tokens"),
)
"""vLLM's engine, version 1."""

TRITON = Signals(
    requests=(Series("nv_inference_request_success"), Series("nv_inference_request_failure")),
    failures=Series("nv_inference_request_failure"),
    # Only where the server was started with --metrics-config summary_latencies=true.
    seconds=Series("nv_inference_request_summary_us"),
    kind="summary",
    waiting=(Series("nv_inference_pending_request_count"),),
    queued=Series("nv_inference_pending_request_count"),
    queue_age=Series("nv_inference_queue_summary_us"),
    age_kind="summary",
    unit=1e-6,
)
"""NVIDIA's Triton."""
