"""Recording rules: a short name for each value that alerts and dashboards use.

``framework.core.metric_names`` documents the names. All rules work in Prometheus 2.42 and 3, without feature
flags. Thresholds are the alerts'.
"""

from framework.core import metric_names as metrics
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.manifests.identity import Object
from framework.manifests.server_signals import Series

WEEKS = (1, 2, 3)
"""Ages of the weeks that a baseline averages."""
HORIZON = 30
"""Minutes ahead that the request rate is forecast."""
SEEN = 180
"""Minutes of history from which the trend and its spread are estimated."""


def record(release: MonitoredRelease, name: str, query: str, **labels: str) -> Object:
    """Return one recording rule."""
    return {"record": name, "expr": query, "labels": {**release.labels, **labels}}


def groups(release: MonitoredRelease, band_sigmas: float) -> list[Object]:
    """Return the groups of recording rules; rules of a group are evaluated in order.

    Args:
        release: whose series are recorded.
        band_sigmas: half the width of the forecast's band, in standard deviations.
    """
    by_level = {
        "infrastructure": _infrastructure(release),
        "service": [*_service(release), *_forecast(release, band_sigmas)],
        "model": _model(release),
        "business": _business(release),
    }
    return [{"name": f"gitune.{level}", "rules": rules} for level, rules in by_level.items() if rules]


def baseline(series: str, window: str = "1h") -> str:
    """Return the mean of *series* at this hour of the previous weeks, over the weeks that have data.

    The label ``week`` keeps the weeks' series distinct until they are averaged.
    """
    weeks = (
        f'label_replace(avg_over_time({series}[{window}] offset {week}w), "week", "{week}", "", "")'
        for week in WEEKS
    )
    return f"avg without (week) ({' or '.join(weeks)})"


def _service(release: MonitoredRelease) -> list[Object]:
    signals, selector = release.signals, release.selector
    rules = [
        (metrics.REQUEST_RATE, signals.request_rate(selector, "5m")),
        (metrics.FAILURE_SHARE, signals.error_share(selector)),
        (metrics.TIMEOUT_SHARE, signals.timeout_share(selector)),
        (metrics.LATENCY_P99, signals.latency(selector)),
        (metrics.QUEUE_SECONDS, signals.queue_seconds(selector)),
        *(
            (name, signals.quantile(series, selector, 0.95))
            for name, series in (
                (metrics.FIRST_TOKEN_P95, signals.first_token),
                (metrics.QUEUE_TIME_P95, signals.queue_time),
            )
            if series is not None
        ),
    ]
    return [record(release, name, query) for name, query in rules if query is not None]


def _forecast(release: MonitoredRelease, band_sigmas: float) -> list[Object]:
    """Return the rules of the forecast: the weekly baseline, plus the linear trend of the recent residual.

    The forecast starts once the baseline covers all of the trend's history. Otherwise the end of the first
    week would look like a jump.
    """
    rate, usual = release.recorded(metrics.REQUEST_RATE), release.recorded(metrics.REQUEST_BASELINE)
    past = f"{release.recorded(metrics.REQUEST_RESIDUAL)}[{SEEN}m] offset {HORIZON}m"
    before = f"{usual} offset {SEEN + HORIZON}m"
    # predict_linear counts from the evaluation time, not from the offset: now is zero seconds ahead.
    trend = f"predict_linear({past}, 0)"
    return [
        record(release, metrics.REQUEST_BASELINE, baseline(rate)),
        record(release, metrics.REQUEST_RESIDUAL, f"{rate} - {usual}"),
        record(release, metrics.REQUEST_FORECAST, f"clamp_min({usual} + {trend}, 0) and {before}"),
        record(release, metrics.REQUEST_BAND, f"{band_sigmas:g} * stddev_over_time({past}) and {before}"),
    ]


def _model(release: MonitoredRelease) -> list[Object]:
    signals, selector = release.signals, release.selector
    histograms = {
        metrics.PROMPT_MEAN: signals.prompt_tokens,
        metrics.COMPLETION_MEAN: signals.completion_tokens,
        metrics.DIVERSITY_MEAN: signals.diversity,
    }
    rules = {
        metrics.BAD_SHARE: signals.bad_share(selector),
        # A pod without enough requests says NaN, which max passes over unless all do.
        metrics.DRIFT_MAX: None
        if signals.drift is None
        else f"max by (feature) ({signals.drift.of(selector)} >= 0)",
        **{
            name: None if series is None else signals.mean(series, selector)
            for name, series in histograms.items()
        },
    }
    return [record(release, name, query) for name, query in rules.items() if query is not None]


def _infrastructure(release: MonitoredRelease) -> list[Object]:
    pods = f'{release.pods()},container!=""'

    def of_limit(used: str, resource: str) -> str:
        limits = f'kube_pod_container_resource_limits{{{pods},resource="{resource}"}}'
        by = "by (namespace, pod, container)"
        return f"max by (pod) (sum {by} ({used}) / max {by} ({limits}))"

    memory = f"max by (namespace, pod, container) (container_memory_working_set_bytes{{{pods}}})"
    cpu = f"rate(container_cpu_usage_seconds_total{{{pods}}}[5m])"
    used, free = _gpu(release, "DCGM_FI_DEV_FB_USED"), _gpu(release, "DCGM_FI_DEV_FB_FREE")
    return [
        record(release, metrics.MEMORY_SHARE, of_limit(memory, "memory")),
        record(release, metrics.CPU_SHARE, of_limit(cpu, "cpu")),
        record(release, metrics.GPU_SHARE, f"{_gpu(release, 'DCGM_FI_DEV_GPU_UTIL')} / 100"),
        record(release, metrics.GPU_MEMORY_SHARE, f"{used} / ({used} + {free})"),
        record(release, metrics.GPU_CELSIUS, _gpu(release, "DCGM_FI_DEV_GPU_TEMP")),
    ]


def _gpu(release: MonitoredRelease, name: str) -> str:
    """Return dcgm-exporter's metric *name* of the pods' GPUs.

    Prometheus renames the exporter's label ``pod`` to ``exported_pod`` unless ``honorLabels`` is set.
    """
    renamed = f'label_replace({name}{{{release.pods("exported_")}}}, "pod", "$1", "exported_pod", "(.+)")'
    return f"max by (pod, gpu) ({name}{{{release.pods()}}} or {renamed})"


def _business(release: MonitoredRelease) -> list[Object]:
    selector, rules = release.selector, []
    for question in ("completed", "converted", "returned"):
        positive, total = (
            Series(metrics.FEEDBACK, f'question="{question}"{answer}').rate(selector, "1h")
            for answer in (',answer="yes"', "")
        )
        share = f"({positive} or vector(0)) / ({total} > 0)"
        rules += [
            record(release, metrics.BUSINESS, share, metric=question),
            record(release, metrics.BUSINESS_REPORTS, f"3600 * {total}", metric=question),
        ]
    rating = Series(metrics.RATING)
    rated = f"3600 * {rating.rate(selector, '1h', '_count')}"
    mean = release.signals.mean(rating, selector, "1h")
    return [
        *rules,
        record(release, metrics.BUSINESS, mean, metric="rating"),
        record(release, metrics.BUSINESS_REPORTS, rated, metric="rating"),
        # Each value covers an hour already, so a short window of each week is enough.
        record(release, metrics.BUSINESS_BASELINE, baseline(release.recorded(metrics.BUSINESS), "5m")),
    ]
