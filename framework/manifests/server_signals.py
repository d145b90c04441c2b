"""PromQL queries for each server's metrics, whose names differ.

Rollouts, autoscalers, alerts and dashboards share them, so that a metric has one definition. A selector holds
the matchers between a series' braces, such as ``namespace="prod",service="x-canary"``. A window is a PromQL
duration, such as ``5m``. Queries for metrics that a server does not export are None.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from framework.core import metric_names as metrics

_ONCE = "max without (service, job, endpoint)"
"""Counts a pod once that is scraped through two Services."""


@dataclass(frozen=True)
class Series:
    """A metric, or the subset of its series with given labels."""

    name: str
    matchers: str = ""
    """Matchers besides the selector."""

    def of(self, selector: str, suffix: str = "") -> str:
        """Return the series of *selector*; *suffix* is a histogram's ``_bucket``, ``_sum`` or ``_count``."""
        matchers = ",".join(filter(None, (selector, self.matchers)))
        return f"{self.name}{suffix}{{{matchers}}}"

    def rate(self, selector: str, window: str, suffix: str = "", by: str | None = None) -> str:
        """Return its rate per second, summed over all pods, or by the label *by*."""
        total = "sum" if by is None else f"sum by ({by}) "
        return f"{total}({_ONCE} (rate({self.of(selector, suffix)}[{window}])))"


@dataclass(frozen=True)
class Signals:
    """Metrics of one kind of server."""

    requests: tuple[Series, ...]
    """Counters that add up to the answered requests."""
    failures: Series
    """Counter of the requests that failed because of the server."""
    seconds: Series
    """Latency of answers: a histogram, or a summary with the label ``quantile``."""
    waiting: tuple[Series, ...]
    """Gauges that add up to the waiting and running requests, as far as the server exports them."""
    queued: Series
    """Gauge of the requests that the model has not started."""
    queue_age: Series
    """Waiting time of requests: a gauge of the oldest, a histogram, or a summary."""
    first_token: Series | None = None
    """Histogram of the seconds to the first token."""
    inter_token: Series | None = None
    """Histogram of the seconds between two tokens."""
    queue_time: Series | None = None
    """Histogram of the seconds until the model began a request."""
    drift: Series | None = None
    """Gauge of the drift by label ``feature``, as a population stability index."""
    unseen_words: Series | None = None
    """Gauge of the share of words that are new."""
    cache: Series | None = None
    """Gauge of the share of the KV cache in use, 0 to 1, of a server that runs a batch of any size. There,
    running requests are no sign of load, and autoscalers look at the waiting ones."""
    timeouts: Series | None = None
    """Counter of the requests that timed out or were canceled."""
    bad_outputs: Series | None = None
    """Counter of bad answers."""
    outputs: Series | None = None
    """Counter of all answers that ``bad_outputs`` is a part of."""
    bad_in_a_row: Series | None = None
    """Gauge of the bad answers since the last good one."""
    prompt_tokens: Series | None = None
    """Histogram of the prompt tokens per request."""
    completion_tokens: Series | None = None
    """Histogram of the generated tokens per answer."""
    diversity: Series | None = None
    """Histogram of the diversity of answers, 0 to 1."""
    offline: Series | None = None
    """Gauge of the metrics recorded before publishing, by label ``metric``."""
    answers: Series | None = None
    """Counter of answers by the label ``source``: the model, or a level of the cache."""
    fallbacks: Series | None = None
    """Counter of requests that another model answered, by the labels ``reason`` and ``outcome``."""
    calls: Series | None = None
    """Counter of calls to other services, by the labels ``destination`` and ``outcome``."""
    breakers: Series | None = None
    """Gauge that is 1 while a service is left alone, by the label ``destination``."""
    jobs_age: Series | None = None
    """Gauge of the seconds since the oldest queued background job was accepted."""
    jobs_ended: Series | None = None
    """Counter of the background jobs that have ended, by the label ``status``."""
    jobs_queued: Series | None = None
    """Gauge of the queued background jobs; each server exports the same number."""
    jobs_taken_back: Series | None = None
    """Counter of the background jobs that lost their worker or server."""
    webhooks: Series | None = None
    """Counter of the calls of webhooks, by the label ``outcome``: ``ok``, or a failure."""
    key_reloads: Series | None = None
    """Counter of the changes of the file of API keys, by the label ``result``."""
    keys_refused: Series | None = None
    """Gauge that is 1 while that file is refused and earlier keys hold."""
    ready: Series = Series("up")
    """Gauge that is 1 where a pod can answer."""
    kind: str = "histogram"
    """Type of ``seconds``: ``histogram`` or ``summary``."""
    age_kind: str = "gauge"
    """Type of ``queue_age``: ``gauge``, ``histogram`` or ``summary``."""
    unit: float = 1.0
    """Unit of ``seconds`` and ``queue_age``, in seconds."""

    def request_rate(self, selector: str, window: str = "1m") -> str:
        """Return requests per second."""
        return _sum([series.rate(selector, window) for series in self.requests])

    def error_share(self, selector: str, window: str = "5m") -> str:
        """Return the share of failed requests, 0 to 1; no result without requests."""
        return self._share(self.failures, selector, window)

    def timeout_share(self, selector: str, window: str = "5m") -> str | None:
        """Return the share of requests that timed out or were canceled, 0 to 1."""
        return None if self.timeouts is None else self._share(self.timeouts, selector, window)

    def bad_share(self, selector: str, window: str = "5m") -> str | None:
        """Return the share of bad answers, 0 to 1; no result without answers."""
        if self.bad_outputs is None or self.outputs is None:
            return None
        bad = f"({self.bad_outputs.rate(selector, window)} or vector(0))"
        return f"{bad} / ({self.outputs.rate(selector, window)} > 0)"

    def failed_job_share(self, selector: str) -> str | None:
        """Return the share of the ended background jobs that failed, 0 to 1; no result without any."""
        return _part(self.jobs_ended, 'status="failed"', selector, "30m")

    def failed_webhook_share(self, selector: str) -> str | None:
        """Return the share of the calls of webhooks that failed, 0 to 1; no result without any."""
        return _part(self.webhooks, 'outcome!="ok"', selector, "15m")

    def latency(self, selector: str, quantile: float = 0.99, window: str = "5m") -> str:
        """Return a quantile of the latency, in seconds.

        A summary yields the slowest pod's quantile, since quantiles cannot be aggregated.
        """
        return self._scaled(_quantile(self.seconds, self.kind, selector, quantile, window))

    def quantile(self, series: Series, selector: str, quantile: float, window: str = "5m") -> str:
        """Return a quantile of a histogram of seconds."""
        return _quantile(series, "histogram", selector, quantile, window)

    def in_flight(self, selector: str) -> str:
        """Return the number of waiting and running requests."""
        return _sum([f"sum({_ONCE} ({series.of(selector)}))" for series in self.waiting])

    def load(self, selector: str) -> str:
        """Return the number of requests that autoscalers divide among the pods."""
        return self.in_flight(selector) if self.cache is None else self.queue_length(selector)

    def answer_use(self, selector: str) -> str | None:
        """Return the shares of the KV caches in use, summed over all pods."""
        return None if self.cache is None else f"sum({_ONCE} ({self.cache.of(selector)}))"

    def queue_length(self, selector: str) -> str:
        """Return the number of requests that the model has not started."""
        return f"sum({_ONCE} ({self.queued.of(selector)}))"

    def queue_seconds(self, selector: str, window: str = "5m") -> str:
        """Return the oldest request's waiting time, or the 99th percentile of waiting times, in seconds."""
        return self._scaled(_quantile(self.queue_age, self.age_kind, selector, 0.99, window))

    def ready_pods(self, selector: str) -> str:
        """Return the number of ready pods."""
        return f"sum({_ONCE} ({self.ready.of(selector)}))"

    def not_ready(self, selector: str) -> str:
        """Return a query with a result only where no pod is ready."""
        return f"absent({self.ready.of(selector)} == 1)"

    def mean(self, series: Series, selector: str, window: str = "10m") -> str:
        """Return the mean of a histogram's observations; no result without observations."""
        total, count = (series.rate(selector, window, suffix) for suffix in ("_sum", "_count"))
        return f"{total} / ({count} > 0)"

    def _share(self, subset: Series, selector: str, window: str) -> str:
        return f"({subset.rate(selector, window)} or vector(0)) / ({self.request_rate(selector, window)} > 0)"

    def _scaled(self, query: str) -> str:
        return query if self.unit == 1 else f"{query} * {self.unit:g}"


def _sum(queries: Sequence[str]) -> str:
    """Return the sum of *queries*; no result only where the first has none."""
    first, *rest = queries
    return f"({first} + {' + '.join(f'({query} or vector(0))' for query in rest)})" if rest else first


def _part(series: Series | None, matchers: str, selector: str, window: str) -> str | None:
    """Return the share of a counter's growth that *matchers* select."""
    if series is None:
        return None
    part, whole = Series(series.name, matchers).rate(selector, window), series.rate(selector, window)
    return f"{part} / ({whole} > 0)"


def _quantile(series: Series, kind: str, selector: str, quantile: float, window: str) -> str:
    if kind == "gauge":
        return f"max({series.of(selector)})"
    if kind == "summary":
        return "max(" + Series(series.name, f'quantile="{quantile:g}"').of(selector) + ")"
    buckets = f"sum by (le) ({_ONCE} (rate({series.of(selector, '_bucket')}[{window}])))"
    return f"histogram_quantile({quantile:g}, {buckets})"


GITUNE = Signals(
    requests=(Series(metrics.REQUESTS),),
    # A pod that drains refuses with 503, and another pod answers.
    failures=Series(metrics.REQUESTS, 'code=~"5..",refused=""'),
    seconds=Series(metrics.REQUEST_SECONDS),
    waiting=(Series(metrics.IN_FLIGHT),),
    queued=Series(metrics.WAITING),
    queue_age=Series(metrics.OLDEST_WAITING_SECONDS),
    first_token=Series(metrics.FIRST_TOKEN_SECONDS),
    inter_token=Series(metrics.INTER_TOKEN_SECONDS),
    queue_time=Series(metrics.QUEUE_TIME_SECONDS),
    drift=Series(metrics.DRIFT_PSI),
    unseen_words=Series(metrics.DRIFT_UNSEEN),
    timeouts=Series(metrics.TIMEOUTS),
    bad_outputs=Series(metrics.BAD_OUTPUTS),
    outputs=Series(f"{metrics.REQUEST_COMPLETION_TOKENS}_count"),
    bad_in_a_row=Series(metrics.BAD_OUTPUTS_IN_A_ROW),
    prompt_tokens=Series(metrics.REQUEST_PROMPT_TOKENS),
    completion_tokens=Series(metrics.REQUEST_COMPLETION_TOKENS),
    diversity=Series(metrics.OUTPUT_DIVERSITY),
    offline=Series(metrics.RELEASE_METRIC),
    answers=Series(metrics.CACHE_ANSWERS),
    fallbacks=Series(metrics.FALLBACKS),
    calls=Series(metrics.OUTBOUND_CALLS),
    breakers=Series(metrics.BREAKER_OPEN),
    jobs_age=Series(metrics.JOBS_OLDEST_SECONDS),
    jobs_ended=Series(metrics.JOBS_ENDED),
    jobs_queued=Series(metrics.JOBS_QUEUED),
    jobs_taken_back=Series(metrics.JOBS_TAKEN_BACK),
    webhooks=Series(metrics.WEBHOOK_CALLS),
    key_reloads=Series(metrics.KEY_RELOADS),
    keys_refused=Series(metrics.KEYS_REFUSED),
    ready=Series(metrics.READY),
)
"""Our own server."""

_HANDLERS = 'handler=~"/v1/.+",handler!="/v1/models"'

VLLM = Signals(
    # The engine counts only finished requests; the HTTP layer also counts failed ones.
    requests=(Series("http_requests_total", _HANDLERS),),
    failures=Series("http_requests_total", f'{_HANDLERS},status="5xx"'),
    seconds=Series("vllm:e2e_request_latency_seconds"),
    waiting=(Series("vllm:num_requests_running"), Series("vllm:num_requests_waiting")),
    queued=Series("vllm:num_requests_waiting"),
    cache=Series("vllm:kv_cache_usage_perc"),
    queue_age=Series("vllm:request_queue_time_seconds"),
    age_kind="histogram",
    first_token=Series("vllm:time_to_first_token_seconds"),
    inter_token=Series("vllm:inter_token_latency_seconds"),
    queue_time=Series("vllm:request_queue_time_seconds"),
    timeouts=Series("vllm:request_success_total", 'finished_reason="abort"'),
    # vLLM does not inspect texts. An answer that reached its length limit or repeats itself is the closest
    # to a bad one.
    bad_outputs=Series("vllm:request_success_total", 'finished_reason=~"length|repetition"'),
    outputs=Series("vllm:request_success_total"),
    prompt_tokens=Series("vllm:request_prompt_tokens"),
    completion_tokens=Series("vllm:request_generation_tokens"),
)
"""vLLM's engine, version 1."""

TRITON = Signals(
    requests=(Series("nv_inference_request_success"), Series("nv_inference_request_failure")),
    failures=Series("nv_inference_request_failure"),
    # Exported only with --metrics-config summary_latencies=true.
    seconds=Series("nv_inference_request_summary_us"),
    kind="summary",
    waiting=(Series("nv_inference_pending_request_count"),),
    queued=Series("nv_inference_pending_request_count"),
    queue_age=Series("nv_inference_queue_summary_us"),
    age_kind="summary",
    unit=1e-6,
)
"""NVIDIA's Triton."""
