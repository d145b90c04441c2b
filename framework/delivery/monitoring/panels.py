"""Contents of the dashboards by level: titles, queries and units, as plain data.

Panels for metrics that a server does not export are left out. ``grafana`` turns them into JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from framework.core import metric_names as metrics
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import Series, Signals


@dataclass(frozen=True)
class Panel:
    """One graph."""

    title: str
    about: str
    """Description shown to the reader."""
    unit: str
    """Grafana's name for the unit."""
    queries: Sequence[tuple[str, str]]
    """PromQL and legend of each line; ``{{pod}}`` is a label's value."""
    above: float | None = None
    """Threshold that the value should stay below."""
    below: float | None = None
    """Threshold that the value should stay above."""


@dataclass(frozen=True)
class Board:
    """One dashboard."""

    level: str
    title: str
    panels: Sequence[Panel]


def boards(release: MonitoredRelease, bounds: Bounds) -> list[Board]:
    """Return the dashboards of a release, one per level, without empty ones."""
    levels = [
        Board("infrastructure", "Infrastructure", _infrastructure(release, bounds)),
        Board("service", "Service", _service(release, bounds)),
        Board("model", "Model", _model(release, bounds)),
        Board("business", "Business", _business(release, bounds)),
    ]
    return [board for board in levels if board.panels]


def _infrastructure(release: MonitoredRelease, bounds: Bounds) -> list[Panel]:
    most, share = bounds.busy_percent / 100, "percentunit"
    by_pod, by_gpu = "{{pod}}", "{{pod}} GPU {{gpu}}"

    def lines(series: str, legend: str) -> list[tuple[str, str]]:
        return [(release.recorded(series), legend)]

    killed = "Working set over the container's limit; at the limit the pod is killed."
    throttled = "Over the container's limit; near it, the pod is throttled."
    taken = "In use over all; vLLM takes most of it when it starts."
    ready = [(release.signals.ready_pods(release.selector), "ready")]
    return [
        Panel("Memory", killed, share, lines(metrics.MEMORY_SHARE, by_pod), most),
        Panel("CPU", throttled, share, lines(metrics.CPU_SHARE, by_pod), most),
        Panel(
            "GPU",
            "Share of the time in which it did something.",
            share,
            lines(metrics.GPU_SHARE, by_gpu),
            most,
        ),
        Panel("GPU memory", taken, share, lines(metrics.GPU_MEMORY_SHARE, by_gpu)),
        Panel(
            "GPU temperature", "A hot GPU slows itself down.", "celsius", lines(metrics.GPU_CELSIUS, by_gpu)
        ),
        Panel("Pods", "Those that can answer.", "short", ready),
    ]


def _service(release: MonitoredRelease, bounds: Bounds) -> list[Panel]:
    signals, selector, of = release.signals, release.selector, release.recorded
    forecast, band = of(metrics.REQUEST_FORECAST), of(metrics.REQUEST_BAND)
    requests = [
        (of(metrics.REQUEST_RATE), "now"),
        (of(metrics.REQUEST_BASELINE), "same hour of earlier weeks"),
        (f"{forecast} + {band}", "forecast, upper"),
        (f"clamp_min({forecast} - {band}, 0)", "forecast, lower"),
    ]
    quantiles = [
        (signals.latency(selector, quantile), f"p{100 * quantile:g}") for quantile in (0.5, 0.95, 0.99)
    ]
    share, failed = "percentunit", [(of(metrics.FAILURE_SHARE), "failed")]
    queue = [(signals.queue_length(selector), "waiting"), (signals.in_flight(selector), "under way")]
    waits = [(of(metrics.QUEUE_SECONDS), "waits")]
    not_begun = "Requests that the model has not begun, and all that are under way."
    panels = [
        Panel("Requests", "A second, beside what is usual and what was forecast.", "reqps", requests),
        Panel("Latency", "Until an answer's last byte.", "s", quantiles, bounds.p99_seconds),
        Panel("Failures", "Share of the requests.", share, failed, bounds.failure_percent / 100),
        Panel("Queue", not_begun, "short", queue),
        Panel("Longest wait", "Until the model begins a request.", "s", waits, bounds.queue_seconds),
    ]
    for title, series, about, bound in (
        ("First token", signals.first_token, "Until an answer's first text.", bounds.first_token_seconds),
        ("Between tokens", signals.inter_token, "From one token of an answer to the next.", None),
        ("Time in the queue", signals.queue_time, "Until the model began.", bounds.queue_p95_seconds),
    ):
        if series is not None:
            lines = [
                (signals.quantile(series, selector, quantile), f"p{100 * quantile:g}")
                for quantile in (0.5, 0.95, 0.99)
            ]
            panels.append(Panel(title, about, "s", lines, bound))
    if signals.timeouts is not None:
        given_up = [(of(metrics.TIMEOUT_SHARE), "given up")]
        about = "Share of the requests that somebody gave up before their answer was whole."
        panels.append(Panel("Time-outs", about, share, given_up, bounds.timeout_percent / 100))
    if signals.completion_tokens is not None:
        tokens = signals.completion_tokens.rate(selector, "5m", "_sum")
        panels.append(Panel("Throughput", "Tokens generated a second.", "short", [(tokens, "tokens/s")]))
    return [*panels, *_shared_parts(signals, selector), *_jobs(signals, selector, bounds)]


def _shared_parts(signals: Signals, selector: str) -> list[Panel]:
    """Return the panels of the answer cache, and of the services that the server calls."""
    panels = []
    if signals.answers is not None:
        rate = signals.answers.rate(selector, "5m", by="source")
        about = "Answers a second, by where they came from: the model, or a level of the cache."
        panels.append(Panel("Answers by source", about, "reqps", [(rate, "{{source}}")]))
    if signals.fallbacks is not None:
        rate = signals.fallbacks.rate(selector, "5m", by="reason, outcome")
        about = "Requests a second that another model was asked to answer, because they were shed or failed."
        panels.append(Panel("Fallback", about, "reqps", [(rate, "{{reason}} {{outcome}}")]))
    if signals.calls is not None:
        rate = signals.calls.rate(selector, "5m", by="destination, outcome")
        about = "Attempts a second to call other services, such as Redis; the breaker refuses some."
        panels.append(Panel("Other services", about, "reqps", [(rate, "{{destination}} {{outcome}}")]))
    if signals.breakers is not None:
        gauge = f"max by (pod, destination) ({signals.breakers.of(selector)})"
        about = "1 while a service is left alone, because its calls failed."
        panels.append(Panel("Open breakers", about, "short", [(gauge, "{{pod}} {{destination}}")]))
    if signals.key_reloads is not None:
        changes = f"3600 * {signals.key_reloads.rate(selector, '1h', by='result')}"
        about = "Changes of the file of API keys in an hour; after a refused one the earlier keys hold."
        panels.append(Panel("Reloads of API keys", about, "short", [(changes, "{{result}}")]))
    return panels


def _jobs(signals: Signals, selector: str, bounds: Bounds) -> list[Panel]:
    """Return the panels of background jobs."""
    panels = []
    if signals.jobs_queued is not None:
        queued = f"max({signals.jobs_queued.of(selector)})"
        panels.append(Panel("Background jobs", "Those that nobody has begun.", "short", [(queued, "queued")]))
    if signals.jobs_age is not None:
        age = f"max({signals.jobs_age.of(selector)})"
        lines, most = [(age, "waits")], bounds.job_wait_seconds
        panels.append(Panel("Oldest background job", "Since it was accepted.", "s", lines, most))
    if signals.jobs_ended is not None:
        rate = signals.jobs_ended.rate(selector, "5m", by="status")
        panels.append(
            Panel("Ended jobs", "Background jobs a second, by status.", "reqps", [(rate, "{{status}}")])
        )
    if (failed := signals.failed_job_share(selector)) is not None:
        about, most = "Share of the background jobs.", bounds.job_failure_percent / 100
        panels.append(Panel("Failed jobs", about, "percentunit", [(failed, "failed")], most))
    if signals.jobs_taken_back is not None:
        lost = f"900 * {signals.jobs_taken_back.rate(selector, '15m')}"
        about = "Background jobs that lost their worker or server, in 15 minutes."
        panels.append(Panel("Lost jobs", about, "short", [(lost, "lost")], bounds.jobs_lost))
    if signals.webhooks is not None:
        rate = signals.webhooks.rate(selector, "5m", by="outcome")
        about = "Calls of webhooks a second; a failed one is made again, until it is given up."
        panels.append(Panel("Webhooks", about, "reqps", [(rate, "{{outcome}}")]))
    return panels


def _model(release: MonitoredRelease, bounds: Bounds) -> list[Panel]:
    signals, of = release.signals, release.recorded
    panels = []
    for title, signal, series in (
        ("Input length", signals.prompt_tokens, metrics.PROMPT_MEAN),
        ("Output length", signals.completion_tokens, metrics.COMPLETION_MEAN),
    ):
        if signal is None:
            continue
        day = f"{of(series)}[1d] offset 10m"
        mean, spread = f"avg_over_time({day})", f"{bounds.length_sigmas:g} * stddev_over_time({day})"
        lines = [(of(series), "now"), (f"{mean} + {spread}", "upper"), (f"{mean} - {spread}", "lower")]
        panels.append(Panel(title, "Mean tokens, and the band of the day before.", "short", lines))
    if signals.diversity is not None:
        about = "Share of an answer's word pairs that are distinct; prose has above 0.8."
        panels.append(Panel("Diversity", about, "percentunit", [(of(metrics.DIVERSITY_MEAN), "mean")]))
    if signals.bad_outputs is not None:
        about = "Share of the answers that are empty, cut or repeat themselves."
        panels.append(Panel("Bad answers", about, "percentunit", [(of(metrics.BAD_SHARE), "bad")]))
    if signals.bad_in_a_row is not None:
        run = f"max by (pod) ({signals.bad_in_a_row.of(release.selector)})"
        about = "Bad answers since the last good one."
        panels.append(Panel("Bad in a row", about, "short", [(run, "{{pod}}")], bounds.bad_in_a_row))
    if signals.drift is not None:
        about = "Population stability index of the newest requests against what is usual."
        lines = [(of(metrics.DRIFT_MAX), "{{feature}}")]
        panels.append(Panel("Drift", about, "short", lines, bounds.drift_psi))
    if signals.unseen_words is not None:
        new = [(f"max({signals.unseen_words.of(release.selector)})", "new")]
        about = "Share of the words in prompts that are new."
        panels.append(Panel("New words", about, "percentunit", new, bounds.unseen_percent / 100))
    if signals.offline is not None:
        measured = f"max by (metric) ({signals.offline.of(release.selector)})"
        about = "Accuracy, F1, BLEU, ROUGE and the like, of the release that serves."
        panels.append(Panel("Measured before publishing", about, "short", [(measured, "{{metric}}")]))
    return panels


def _business(release: MonitoredRelease, bounds: Bounds) -> list[Panel]:
    charts = (
        ("Completed calls", "completed", "percentunit", bounds.success_percent / 100),
        ("Conversion", "converted", "percentunit", None),
        ("Retention", "returned", "percentunit", None),
        ("Satisfaction, 1 to 5", "rating", "short", None),
    )
    panels = []
    for title, metric, unit, threshold in charts:
        now, usual = (
            release.recorded(series, f'metric="{metric}"')
            for series in (metrics.BUSINESS, metrics.BUSINESS_BASELINE)
        )
        about = "Of the last hour, as the application reports it with POST /v1/feedback."
        lines = [(now, "now"), (usual, "same hour of earlier weeks")]
        panels.append(Panel(title, about, unit, lines, below=threshold))
    for title, question in (
        ("Completed calls by version", "completed"),
        ("Conversion by version", "converted"),
    ):
        about = "Of the last hour, by the first twelve digits of each version's digest."
        panels.append(Panel(title, about, "percentunit", [(_by_version(release, question), "{{version}}")]))
    reports = [(release.recorded(metrics.BUSINESS_REPORTS), "{{metric}}")]
    return [*panels, Panel("Reports", "How many an hour that is made of.", "short", reports)]


def _by_version(release: MonitoredRelease, question: str) -> str:
    positive, total = (
        Series(metrics.FEEDBACK, f'question="{question}"{answer}').rate(release.selector, "1h", by="version")
        for answer in (',answer="yes"', "")
    )
    return f"({positive} or 0 * {total}) / ({total} > 0)"
