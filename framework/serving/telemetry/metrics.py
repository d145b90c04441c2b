"""The server's Prometheus metrics, under the names of ``framework.core.metric_names``.

It knows neither HTTP frameworks nor models.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from framework.core import metric_names as names
from framework.core.release import Release
from framework.serving.telemetry.adapter_metrics import AdapterMetrics
from framework.serving.telemetry.cache_metrics import CacheMetrics, FallbackMetrics, OutboundMetrics
from framework.serving.telemetry.drift_watch import FEATURES, DriftWatch
from framework.serving.telemetry.gpus import watch_gpus
from framework.serving.telemetry.job_metrics import JobMetrics, KeyMetrics
from framework.serving.telemetry.outputs import BadStreak, Judgment

if TYPE_CHECKING:
    from prometheus_client import Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Bucket bounds of durations: classifiers answer in milliseconds, long answers take minutes."""
TOKENS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""Bucket bounds of lengths; a mean comes from sum and count and does not depend on them."""
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Bucket bounds of batch sizes."""
STEPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)
"""Bucket bounds of the time of one token."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Bucket bounds of diversity."""
VERSIONS = 16
"""Most versions that feedback can name while a server runs; later ones count as ``other``."""


class Metrics:
    """The metrics of one server process, in their own registry."""

    def __init__(self, release: Release) -> None:
        from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics

        disable_created_metrics()  # type: ignore[no-untyped-call]  # they add a second series to each metric
        registry = self.registry = CollectorRegistry()
        self._open_requests()
        self._open_answers()
        self._open_services()
        self._watch_queue()
        self._versions: set[str] = set()
        watch_gpus(registry)
        labels = ["release", "digest", "engine", "base_model"]
        self._info = Gauge(names.RELEASE_INFO, "The served release.", labels, registry=registry)
        about = "Measured before publishing."
        self._measured = Gauge(names.RELEASE_METRIC, about, ["metric"], registry=registry)
        self.introduce(release)

    def _histogram(self, name: str, about: str, bounds: tuple[float, ...], *labels: str) -> "Histogram":
        from prometheus_client import Histogram

        return Histogram(name, about, labels, registry=self.registry, buckets=bounds)

    def _open_requests(self) -> None:
        """Open what counts requests, and what the engine takes for them."""
        from prometheus_client import Counter, Gauge

        registry, histogram = self.registry, self._histogram
        self.requests = Counter(
            names.REQUESTS, "Requests answered.", ["route", "code", "refused"], registry=registry
        )
        self.seconds = histogram(names.REQUEST_SECONDS, "Seconds to the last byte.", SECONDS, "route")
        self.timeouts = Counter(names.TIMEOUTS, "Requests that took too long.", ["route"], registry=registry)
        self.in_flight = Gauge(names.IN_FLIGHT, "Requests waiting or being answered.", registry=registry)
        self.first_token = histogram(names.FIRST_TOKEN_SECONDS, "Seconds to the first text.", SECONDS)
        between = "Seconds between two tokens of an answer."
        self.inter_token = histogram(names.INTER_TOKEN_SECONDS, between, STEPS)
        self.queue_time = histogram(names.QUEUE_TIME_SECONDS, "Seconds until the engine began.", SECONDS)
        self.step_seconds = histogram(names.ENGINE_STEP_SECONDS, "Seconds of a step of the engine.", STEPS)

    def _open_answers(self) -> None:
        """Open what describes prompts, answers and what people say about them."""
        from prometheus_client import Counter

        registry, histogram = self.registry, self._histogram
        self.prompt_tokens = Counter(names.PROMPT_TOKENS, "Tokens read.", registry=registry)
        self.completion_tokens = Counter(names.COMPLETION_TOKENS, "Tokens generated.", registry=registry)
        self.prompt_length = histogram(names.REQUEST_PROMPT_TOKENS, "Tokens read for one text.", TOKENS)
        self.completion_length = histogram(names.REQUEST_COMPLETION_TOKENS, "Tokens of one answer.", TOKENS)
        self.bad_outputs = Counter(names.BAD_OUTPUTS, "Bad answers.", ["reason"], registry=registry)
        self.diversity = histogram(names.OUTPUT_DIVERSITY, "Distinct word pairs of an answer.", SHARES)
        self.batch_rows = histogram(names.BATCH_ROWS, "Requests in a batch.", ROWS)
        self.logged = Counter(
            names.LOGGED_ROWS, "Rows of the request log.", ["table", "outcome"], registry=registry
        )
        self.feedback = Counter(
            names.FEEDBACK, "User feedback.", ["question", "answer", "version"], registry=registry
        )
        self.rating = histogram(names.RATING, "User ratings.", (1, 2, 3, 4, 5), "version")

    def _open_services(self) -> None:
        """Open what describes the server, and what it has beside the model."""
        from prometheus_client import Gauge

        registry = self.registry
        self.engine_starts = Gauge(names.ENGINE_STARTS, "Starts of the engine.", registry=registry)
        self.ready = Gauge(names.READY, "Whether the model has answered once.", registry=registry)
        self.jobs = JobMetrics(registry)
        self.keys = KeyMetrics(registry)
        self.memory = Gauge(names.MEMORY_BYTES, "Resident memory.", ["process"], registry=registry)
        self.adapters = AdapterMetrics(registry, SECONDS)
        self.cache = CacheMetrics(registry)
        self.fallback = FallbackMetrics(registry)
        self.outbound = OutboundMetrics(registry)

    def _watch_queue(self) -> None:
        """Expose what is known at each scrape only."""
        from prometheus_client import Gauge

        registry = self.registry
        self.bad_streak = BadStreak()
        in_a_row = Gauge(
            names.BAD_OUTPUTS_IN_A_ROW, "Bad answers since the last good one.", registry=registry
        )
        in_a_row.set_function(lambda: self.bad_streak.length)
        self.queue = Queue()
        waiting = Gauge(names.WAITING, "Texts waiting for the model.", registry=registry)
        waiting.set_function(lambda: float(len(self.queue)))
        oldest = Gauge(names.OLDEST_WAITING_SECONDS, "Seconds that the oldest waits.", registry=registry)
        oldest.set_function(lambda: self.queue.oldest())

    def introduce(self, release: Release) -> None:
        """Expose the release, and its metrics from before publishing, in place of an earlier one's."""
        self._info.clear()
        self._measured.clear()
        self._info.labels(release.name, release.digest, release.engine, release.base_model).set(1)
        for metric, value in sorted(release.metrics.items()):
            self._measured.labels(metric).set(value)

    def watch_memory(self, process: str, pid: Callable[[], int]) -> None:
        """Expose a process's resident memory; *pid* is called at each scrape."""
        self.memory.labels(process).set_function(lambda: resident_bytes(pid()))

    def watch_drift(self, watch: DriftWatch) -> None:
        """Expose how far the newest requests are from what is usual."""
        from prometheus_client import Gauge

        index = Gauge(names.DRIFT_PSI, "Drift of the newest requests.", ["feature"], registry=self.registry)
        sigmas = Gauge(names.DRIFT_SIGMAS, "Shift of mean lengths.", ["feature"], registry=self.registry)
        for feature in FEATURES:
            index.labels(feature).set_function(partial(watch.psi, feature))
            if feature != "label":
                sigmas.labels(feature).set_function(partial(watch.sigmas, feature))
        unseen = Gauge(names.DRIFT_UNSEEN, "Share of new words.", registry=self.registry)
        unseen.set_function(watch.unseen)

    def began(self, arrived: float, began: float | None) -> None:
        """Count how long a request has waited for the engine; both times are the monotonic clock's."""
        if began is not None:
            self.queue_time.observe(max(0.0, began - arrived))

    def read_prompt(self, tokens: int) -> None:
        """Count the tokens of a prompt that the engine has read."""
        self.prompt_tokens.inc(tokens)
        self.prompt_length.observe(tokens)
        self.adapters.add_tokens("prompt", tokens)

    def spoke(self, seconds: float) -> None:
        """Count the first text of an answer, *seconds* after its request arrived."""
        self.first_token.observe(seconds)
        self.adapters.began(seconds)

    def judged(self, judgment: Judgment, tokens: int) -> None:
        """Count one complete answer of *tokens* tokens."""
        self.completion_tokens.inc(tokens)
        self.adapters.add_tokens("completion", tokens)
        self.completion_length.observe(tokens)
        self.diversity.observe(judgment.diversity)
        self.bad_streak.add(judgment)
        if judgment.reason is not None:
            self.bad_outputs.labels(judgment.reason).inc()

    def reported(self, version: str, answers: dict[str, bool], rating: int | None) -> None:
        """Count an application's feedback on an answer of *version*."""
        if len(self._versions) < VERSIONS:
            self._versions.add(version)
        # Callers that invent versions must not create unlimited series.
        label = version if version in self._versions else "other"
        for question, answer in answers.items():
            self.feedback.labels(question, "yes" if answer else "no", label).inc()
        if rating is not None:
            self.rating.labels(label).observe(rating)


class Queue:
    """The arrival time of each waiting text."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def enter(self, uid: str) -> None:
        """Record that the text *uid* waits from now on."""
        self._since[uid] = time.monotonic()

    def leave(self, uid: str) -> None:
        """Record that *uid* no longer waits; it may have left already."""
        self._since.pop(uid, None)

    def oldest(self) -> float:
        """Return how many seconds the oldest has waited; 0 if none waits."""
        first = next(iter(self._since.values()), None)  # a dict keeps insertion order
        return 0.0 if first is None else time.monotonic() - first


def resident_bytes(pid: int) -> float:
    """Return the resident memory of a process in bytes; NaN if it is unknown.

    Reads Linux's ``/proc``; pages shared by two processes count in both.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return float("nan")
    kib = next((line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:")), None)
    return float("nan") if kib is None else 1024.0 * float(kib)
