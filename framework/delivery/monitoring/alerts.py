"""The alerts: what is compared with which bound, how bad that is, and what a person reads.

Each has a runbook of its name in ``docs/runbooks/`` and is tried in ``tests/unit/monitoring`` by
Prometheus' own promtool. Where a server does not tell what an alert asks, the alert is left out. Who is
woken, ``framework.delivery.monitoring.routing`` says.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from framework.core import metric_names as metrics
from framework.delivery.monitoring.selectors import Watched
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.identity import Object

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class Alert:
    """One alert."""

    name: str
    level: Literal["infrastructure", "service", "model", "business"]
    severity: Severity
    """``critical`` wakes somebody, ``warning`` is read in the morning."""
    query: str
    summary: str
    """One sentence; ``{{ $value }}`` is what the query gave."""
    minutes: int = 0
    """For how long it must hold."""

    def rule(self, watched: Watched, runbooks: str) -> Object:
        """Return the alerting rule; *runbooks* is the address of the folder of runbooks."""
        rule: Object = {
            "alert": self.name,
            "expr": self.query,
            "labels": {**watched.labels, "level": self.level, "severity": self.severity},
            "annotations": {
                "summary": f"{watched.name} in {watched.namespace}: {self.summary}",
                "runbook_url": f"{runbooks.rstrip('/')}/{self.name}.md",
            },
        }
        if self.minutes:
            rule["for"] = f"{self.minutes}m"
        return rule


def alerts(watched: Watched, bounds: Bounds) -> list[Alert]:
    """Return every alert that *watched*'s server can raise."""
    found = (
        *_infrastructure(watched, bounds),
        *_service(watched, bounds),
        *_traffic(watched, bounds),
        *_model(watched, bounds),
        *_business(watched, bounds),
    )
    return list(found)


def _infrastructure(watched: Watched, bounds: Bounds) -> Iterable[Alert]:
    most, minutes = bounds.busy_percent / 100, bounds.busy_minutes
    parts: tuple[tuple[str, Severity, str, str], ...] = (
        ("GituneMemoryHigh", "critical", metrics.MEMORY_SHARE, "uses {} of its memory"),
        ("GituneCpuHigh", "warning", metrics.CPU_SHARE, "uses {} of its CPU"),
        ("GituneGpuHigh", "warning", metrics.GPU_SHARE, "keeps its GPU busy for {} of the time"),
    )
    for name, severity, series, said in parts:
        used = said.format("{{ $value | humanizePercentage }}")
        yield Alert(
            name,
            "infrastructure",
            severity,
            f"{watched.recorded(series)} > {most:g}",
            f"pod {{{{ $labels.pod }}}} {used}",
            minutes,
        )
    expiry = "certmanager_certificate_expiration_timestamp_seconds"
    where = "|".join(sorted({watched.namespace, *watched.certified}))
    own, renamed = (f'{expiry}{{{key}=~"{where}"}}' for key in ("namespace", "exported_namespace"))
    yield Alert(
        "GituneCertificateExpiring",
        "infrastructure",
        "warning",
        f"min by (name) ({own} or {renamed}) - time() < {bounds.certificate_days * 86400}",
        "certificate {{ $labels.name }} is valid for {{ $value | humanizeDuration }} only",
        15,
    )


def _service(watched: Watched, bounds: Bounds) -> Iterable[Alert]:
    yield Alert(
        "GituneDown",
        "service",
        "critical",
        watched.signals.not_ready(watched.selector),
        "no pod can answer",
        bounds.down_minutes,
    )
    yield Alert(
        "GituneLatencyHigh",
        "service",
        "critical",
        f"{watched.recorded(metrics.LATENCY_P99)} > {bounds.p99_seconds:g}",
        "the slowest of 100 answers takes {{ $value | humanizeDuration }}",
        5,
    )
    yield Alert(
        "GituneFailures",
        "service",
        "critical",
        f"{watched.recorded(metrics.FAILURE_SHARE)} > {bounds.failure_percent / 100:g}",
        "{{ $value | humanizePercentage }} of the requests fail",
        2,
    )
    if watched.signals.timeouts is not None:
        yield Alert(
            "GituneTimeouts",
            "service",
            "warning",
            f"{watched.recorded(metrics.TIMEOUT_SHARE)} > {bounds.timeout_percent / 100:g}",
            "{{ $value | humanizePercentage }} of the requests are given up before their answer is whole",
            5,
        )
    yield Alert(
        "GituneQueueOld",
        "service",
        "warning",
        f"{watched.recorded(metrics.QUEUE_SECONDS)} > {bounds.queue_seconds:g}",
        "a request has waited for {{ $value | humanizeDuration }}",
        2,
    )


def _traffic(watched: Watched, bounds: Bounds) -> Iterable[Alert]:
    rate, left = watched.recorded(metrics.REQUEST_RATE), 1 - bounds.fall_percent / 100
    before, usual = f"{rate} offset 10m", watched.recorded(metrics.REQUEST_BASELINE)
    forecast, band = (watched.recorded(name) for name in (metrics.REQUEST_FORECAST, metrics.REQUEST_BAND))
    yield Alert(
        "GituneTrafficFall",
        "service",
        "critical",
        f"{rate} < {left:g} * ({before}) and {before} >= {bounds.least_rate:g}",
        "requests fell suddenly to {{ $value | humanize }} a second",
        1,
    )
    yield Alert(
        "GituneTrafficUnderBaseline",
        "service",
        "warning",
        f"{rate} < {left:g} * {usual} and {usual} >= {bounds.least_rate:g}",
        "{{ $value | humanize }} requests a second, far less than at this hour of the weeks before",
        15,
    )
    # Where all goes by the clock the band is narrow, and a tenth off is still nobody's concern.
    yield Alert(
        "GituneTrafficOffForecast",
        "service",
        "warning",
        f"abs({rate} - {forecast}) > {band} and abs({rate} - {forecast}) > 0.1 * {forecast} "
        f"and {forecast} >= {bounds.least_rate:g}",
        "requests are {{ $value | humanize }} a second away from their forecast",
        15,
    )


def _model(watched: Watched, bounds: Bounds) -> Iterable[Alert]:
    signals = watched.signals
    if signals.bad_in_a_row is not None:
        yield Alert(
            "GituneBadOutputs",
            "model",
            "critical",
            f"max by (pod) ({signals.bad_in_a_row.of(watched.selector)}) >= {bounds.bad_in_a_row}",
            "pod {{ $labels.pod }} gave {{ $value }} bad answers in a row",
        )
    lengths = (
        ("GituneInputLengthDrift", metrics.PROMPT_MEAN, "input", signals.prompt_tokens),
        ("GituneOutputLengthDrift", metrics.COMPLETION_MEAN, "output", signals.completion_tokens),
    )
    for name, recorded, what, told in lengths:
        if told is not None:
            yield _length(watched, bounds, name, recorded, what)


def _length(watched: Watched, bounds: Bounds, name: str, recorded: str, what: str) -> Alert:
    """Return the alert of a mean length that is far from its own mean of the day before.

    Half a token is the least standard deviation, so that what is always equally long can differ by one.
    """
    now = watched.recorded(recorded)
    day = f"{now}[1d] offset 10m"
    usual = f"clamp_min(stddev_over_time({day}), 0.5)"
    return Alert(
        name,
        "model",
        "warning",
        f"abs({now} - avg_over_time({day})) > {bounds.length_sigmas:g} * {usual}",
        f"the mean {what} is {{{{ $value | humanize }}}} tokens away from that of the day before",
        10,
    )


def _business(watched: Watched, bounds: Bounds) -> Iterable[Alert]:
    enough = f"{watched.recorded(metrics.BUSINESS_REPORTS)} >= {bounds.least_reports}"
    now, usual = (watched.recorded(name) for name in (metrics.BUSINESS, metrics.BUSINESS_BASELINE))
    completed, converted = (
        watched.recorded(metrics.BUSINESS, f'metric="{metric}"') for metric in ("completed", "converted")
    )
    converted_usually = watched.recorded(metrics.BUSINESS_BASELINE, 'metric="converted"')
    yield Alert(
        "GituneSuccessLow",
        "business",
        "critical",
        f"{completed} < {bounds.success_percent / 100:g} and {enough}",
        "only {{ $value | humanizePercentage }} of the calls are completed",
        5,
    )
    yield Alert(
        "GituneBusinessUnderBaseline",
        "business",
        "warning",
        f"{now} < {1 - bounds.business_fall_percent / 100:g} * {usual} and {enough}",
        "'{{ $labels.metric }}' is {{ $value | humanize }}, far less than at this hour of the weeks before",
        15,
    )
    yield Alert(
        "GituneConversionDrift",
        "business",
        "warning",
        f"abs({converted} - {converted_usually}) > {bounds.conversion_points / 100:g} and {enough}",
        "the conversion rate is {{ $value | humanizePercentage }} away from this hour of the weeks before",
        15,
    )
