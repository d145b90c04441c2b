"""The alerts on background jobs and their webhooks; ``alerts`` adds them to the others."""

from collections.abc import Iterable

from framework.delivery.monitoring.alert import Alert
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds

_LOST_MINUTES = 15


def job_alerts(release: MonitoredRelease, bounds: Bounds) -> Iterable[Alert]:
    """Yield those that *release*'s server has the metrics for; servers without jobs export zeros."""
    signals, selector = release.signals, release.selector
    if signals.jobs_age is not None:
        yield _warning(
            "GituneJobsOld",
            f"max({signals.jobs_age.of(selector)}) > {bounds.job_wait_seconds:g}",
            "a background job has waited for {{ $value | humanizeDuration }}",
            5,
        )
    failed = signals.failed_job_share(selector)
    if failed is not None:
        yield _warning(
            "GituneJobsFailing",
            f"{failed} > {bounds.job_failure_percent / 100:g}",
            "{{ $value | humanizePercentage }} of the background jobs fail",
            5,
        )
    if signals.jobs_taken_back is not None:
        lost = signals.jobs_taken_back.rate(selector, f"{_LOST_MINUTES}m")
        yield _warning(
            "GituneJobsLost",
            f"{60 * _LOST_MINUTES} * {lost} > {bounds.jobs_lost:g}",
            "{{ $value | humanize }} background jobs lost their worker or server within "
            f"{_LOST_MINUTES} minutes",
        )
    undelivered = signals.failed_webhook_share(selector)
    if undelivered is not None:
        yield _warning(
            "GituneWebhooksFailing",
            f"{undelivered} > {bounds.webhook_failure_percent / 100:g}",
            "{{ $value | humanizePercentage }} of the calls of webhooks fail",
            10,
        )


def _warning(name: str, query: str, summary: str, minutes: int = 0) -> Alert:
    return Alert(name, "service", "warning", query, summary, minutes)
