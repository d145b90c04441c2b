"""The alerts: query, threshold, severity and summary of each.

Each has a runbook of its name in ``docs/runbooks/`` and is tested with promtool in
``tests/unit/delivery/monitoring``. Alerts on metrics that a server does not export are left out. ``routing``
decides who is notified.
"""

from collections.abc import Iterable

from framework.core import metric_names as metrics
from framework.delivery.monitoring.alert import Alert, Severity
from framework.delivery.monitoring.job_alerts import job_alerts
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds


def alerts(release: MonitoredRelease, bounds: Bounds) -> list[Alert]:
    """Return all alerts that *release*'s server has the metrics for."""
    return [
        *_infrastructure(release, bounds),
        *_service(release, bounds),
        *job_alerts(release, bounds),
        *_traffic(release, bounds),
        *_model(release, bounds),
        *_business(release, bounds),
    ]


def _infrastructure(release: MonitoredRelease, bounds: Bounds) -> Iterable[Alert]:
    most, minutes = bounds.busy_percent / 100, bounds.busy_minutes
    usages: tuple[tuple[str, Severity, str, str], ...] = (
        ("GituneMemoryHigh", "critical", metrics.MEMORY_SHARE, "uses {} of its memory"),
        ("GituneCpuHigh", "warning", metrics.CPU_SHARE, "uses {} of its CPU"),
        ("GituneGpuHigh", "warning", metrics.GPU_SHARE, "keeps its GPU busy for {} of the time"),
    )
    for name, severity, series, text in usages:
        usage = text.format("{{ $value | humanizePercentage }}")
        yield Alert(
            name,
            "infrastructure",
            severity,
            f"{release.recorded(series)} > {most:g}",
            f"pod {{{{ $labels.pod }}}} {usage}",
            minutes,
        )
    expiry = "certmanager_certificate_expiration_timestamp_seconds"
    namespaces = "|".join(sorted({release.namespace, *release.certified}))
    own, renamed = (f'{expiry}{{{key}=~"{namespaces}"}}' for key in ("namespace", "exported_namespace"))
    yield Alert(
        "GituneCertificateExpiring",
        "infrastructure",
        "warning",
        f"min by (name) ({own} or {renamed}) - time() < {bounds.certificate_days * 86400}",
        "certificate {{ $labels.name }} is valid for {{ $value | humanizeDuration }} only",
        15,
    )


def _service(release: MonitoredRelease, bounds: Bounds) -> Iterable[Alert]:
    yield Alert(
        "GituneDown",
        "service",
        "critical",
        release.signals.not_ready(release.selector),
        "no pod can answer",
        bounds.down_minutes,
    )
    yield Alert(
        "GituneLatencyHigh",
        "service",
        "critical",
        f"{release.recorded(metrics.LATENCY_P99)} > {bounds.p99_seconds:g}",
        "the slowest of 100 answers takes {{ $value | humanizeDuration }}",
        5,
    )
    yield Alert(
        "GituneFailures",
        "service",
        "critical",
        f"{release.recorded(metrics.FAILURE_SHARE)} > {bounds.failure_percent / 100:g}",
        "{{ $value | humanizePercentage }} of the requests fail",
        2,
    )
    yield from _keys(release)
    if release.signals.timeouts is not None:
        yield Alert(
            "GituneTimeouts",
            "service",
            "warning",
            f"{release.recorded(metrics.TIMEOUT_SHARE)} > {bounds.timeout_percent / 100:g}",
            "{{ $value | humanizePercentage }} of the requests are given up before their answer is whole",
            5,
        )
    yield Alert(
        "GituneQueueOld",
        "service",
        "warning",
        f"{release.recorded(metrics.QUEUE_SECONDS)} > {bounds.queue_seconds:g}",
        "a request has waited for {{ $value | humanizeDuration }}",
        2,
    )
    yield from _waits(release, bounds)


def _keys(release: MonitoredRelease) -> Iterable[Alert]:
    if release.signals.keys_refused is not None:
        yield Alert(
            "GituneKeysRefused",
            "service",
            "warning",
            f"max by (pod) ({release.signals.keys_refused.of(release.selector)}) == 1",
            "pod {{ $labels.pod }} cannot read the file of API keys, and goes on with the earlier ones",
            2,
        )


def _waits(release: MonitoredRelease, bounds: Bounds) -> Iterable[Alert]:
    signals = release.signals
    for name, recorded, signal, most, until in (
        (
            "GituneFirstTokenSlow",
            metrics.FIRST_TOKEN_P95,
            signals.first_token,
            bounds.first_token_seconds,
            "its first token",
        ),
        (
            "GituneQueueSlow",
            metrics.QUEUE_TIME_P95,
            signals.queue_time,
            bounds.queue_p95_seconds,
            "the model begins it",
        ),
    ):
        if signal is not None:
            summary = f"one of 20 requests waits over {{{{ $value | humanizeDuration }}}} until {until}"
            yield Alert(name, "service", "warning", f"{release.recorded(recorded)} > {most:g}", summary, 5)


def _traffic(release: MonitoredRelease, bounds: Bounds) -> Iterable[Alert]:
    rate, left = release.recorded(metrics.REQUEST_RATE), 1 - bounds.fall_percent / 100
    before, usual = f"{rate} offset 10m", release.recorded(metrics.REQUEST_BASELINE)
    forecast, band = (release.recorded(name) for name in (metrics.REQUEST_FORECAST, metrics.REQUEST_BAND))
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
    # With very regular traffic the band is narrow; a deviation of 10 % is still not worth an alert.
    yield Alert(
        "GituneTrafficOffForecast",
        "service",
        "warning",
        f"abs({rate} - {forecast}) > {band} and abs({rate} - {forecast}) > 0.1 * {forecast} "
        f"and {forecast} >= {bounds.least_rate:g}",
        "requests are {{ $value | humanize }} a second away from their forecast",
        15,
    )


def _model(release: MonitoredRelease, bounds: Bounds) -> Iterable[Alert]:
    signals = release.signals
    if signals.bad_in_a_row is not None:
        yield Alert(
            "GituneBadOutputs",
            "model",
            "critical",
            f"max by (pod) ({signals.bad_in_a_row.of(release.selector)}) >= {bounds.bad_in_a_row}",
            "pod {{ $labels.pod }} gave {{ $value }} bad answers in a row",
        )
    if signals.drift is not None:
        yield Alert(
            "GituneDrift",
            "model",
            "warning",
            f"{release.recorded(metrics.DRIFT_MAX)} > {bounds.drift_psi:g}",
            "'{{ $labels.feature }}' has moved by {{ $value | humanize }} (PSI) from what is usual",
            10,
        )
    if signals.unseen_words is not None:
        yield Alert(
            "GituneVocabularyDrift",
            "model",
            "warning",
            f"max({signals.unseen_words.of(release.selector)}) > {bounds.unseen_percent / 100:g}",
            "{{ $value | humanizePercentage }} of the words in prompts are new",
            10,
        )
    lengths = (
        ("GituneInputLengthDrift", metrics.PROMPT_MEAN, "input", signals.prompt_tokens),
        ("GituneOutputLengthDrift", metrics.COMPLETION_MEAN, "output", signals.completion_tokens),
    )
    for name, recorded, side, signal in lengths:
        if signal is not None:
            yield _length_drift(release, bounds, name, recorded, side)


def _length_drift(release: MonitoredRelease, bounds: Bounds, name: str, recorded: str, side: str) -> Alert:
    """Return the alert for a mean length far from the mean of the previous day.

    The standard deviation is at least half a token, so that constant lengths can vary by one token.
    """
    now = release.recorded(recorded)
    day = f"{now}[1d] offset 10m"
    usual = f"clamp_min(stddev_over_time({day}), 0.5)"
    return Alert(
        name,
        "model",
        "warning",
        f"abs({now} - avg_over_time({day})) > {bounds.length_sigmas:g} * {usual}",
        f"the mean {side} is {{{{ $value | humanize }}}} tokens away from that of the day before",
        10,
    )


def _business(release: MonitoredRelease, bounds: Bounds) -> Iterable[Alert]:
    significant = f"{release.recorded(metrics.BUSINESS_REPORTS)} >= {bounds.least_reports}"
    now, usual = (release.recorded(name) for name in (metrics.BUSINESS, metrics.BUSINESS_BASELINE))
    completed, converted = (
        release.recorded(metrics.BUSINESS, f'metric="{metric}"') for metric in ("completed", "converted")
    )
    converted_usually = release.recorded(metrics.BUSINESS_BASELINE, 'metric="converted"')
    yield Alert(
        "GituneSuccessLow",
        "business",
        "critical",
        f"{completed} < {bounds.success_percent / 100:g} and {significant}",
        "only {{ $value | humanizePercentage }} of the calls are completed",
        5,
    )
    yield Alert(
        "GituneBusinessUnderBaseline",
        "business",
        "warning",
        f"{now} < {1 - bounds.business_fall_percent / 100:g} * {usual} and {significant}",
        "'{{ $labels.metric }}' is {{ $value | humanize }}, far less than at this hour of the weeks before",
        15,
    )
    yield Alert(
        "GituneConversionDrift",
        "business",
        "warning",
        f"abs({converted} - {converted_usually}) > {bounds.conversion_points / 100:g} and {significant}",
        "the conversion rate is {{ $value | humanizePercentage }} away from this hour of the weeks before",
        15,
    )
