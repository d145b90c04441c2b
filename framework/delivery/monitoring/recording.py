"""Recording rules: one short name for each number that alerts and dashboards use.

What each means stands beside its name in ``framework.core.metric_names``. Every rule stays within what
Prometheus 2.42 and 3 both know, without a feature flag. Nothing here decides what is too much.
"""

from framework.core import metric_names as metrics
from framework.delivery.monitoring.selectors import Watched
from framework.manifests.identity import Object
from framework.manifests.signals import Series

WEEKS = (1, 2, 3)
"""The weeks before that a baseline is the mean of."""
HORIZON = 30
"""Minutes ahead for which the request rate is forecast."""
SEEN = 180
"""Minutes before that, from which its trend and its spread are taken."""


def record(watched: Watched, name: str, query: str, **labels: str) -> Object:
    """Return one rule."""
    return {"record": name, "expr": query, "labels": {**watched.labels, **labels}}


def groups(watched: Watched, band_sigmas: float) -> list[Object]:
    """Return the groups of recording rules; a group's rules are evaluated in their order.

    Args:
        watched: the release.
        band_sigmas: half the width of the forecast's band, in standard deviations.
    """
    found = {
        "infrastructure": _infrastructure(watched),
        "service": [*_service(watched), *_forecast(watched, band_sigmas)],
        "model": _model(watched),
        "business": _business(watched),
    }
    return [{"name": f"gitune.{level}", "rules": rules} for level, rules in found.items() if rules]


def baseline(series: str, window: str = "1h") -> str:
    """Return the mean of *series* at this hour of the weeks before, over those weeks that are known.

    The label ``week`` keeps the three apart until they are averaged.
    """
    weeks = (
        f'label_replace(avg_over_time({series}[{window}] offset {week}w), "week", "{week}", "", "")'
        for week in WEEKS
    )
    return f"avg without (week) ({' or '.join(weeks)})"


def _service(watched: Watched) -> list[Object]:
    signals, selector = watched.signals, watched.selector
    rules = [
        (metrics.REQUEST_RATE, signals.request_rate(selector, "5m")),
        (metrics.FAILURE_SHARE, signals.error_share(selector)),
        (metrics.TIMEOUT_SHARE, signals.timeout_share(selector)),
        (metrics.LATENCY_P99, signals.latency(selector)),
        (metrics.QUEUE_SECONDS, signals.queue_seconds(selector)),
    ]
    return [record(watched, name, query) for name, query in rules if query is not None]


def _forecast(watched: Watched, band_sigmas: float) -> list[Object]:
    """Return season plus trend: the weekly baseline, and a line through what was above it of late.

    Only where a week before is known for all that the trend is taken from: else the first week's end
    would look like a leap.
    """
    rate, usual = watched.recorded(metrics.REQUEST_RATE), watched.recorded(metrics.REQUEST_BASELINE)
    past = f"{watched.recorded(metrics.REQUEST_RESIDUAL)}[{SEEN}m] offset {HORIZON}m"
    before = f"{usual} offset {SEEN + HORIZON}m"
    # It counts from the evaluation, not from the offset: now is zero seconds ahead.
    trend = f"predict_linear({past}, 0)"
    return [
        record(watched, metrics.REQUEST_BASELINE, baseline(rate)),
        record(watched, metrics.REQUEST_RESIDUAL, f"{rate} - {usual}"),
        record(watched, metrics.REQUEST_FORECAST, f"clamp_min({usual} + {trend}, 0) and {before}"),
        record(watched, metrics.REQUEST_BAND, f"{band_sigmas:g} * stddev_over_time({past}) and {before}"),
    ]


def _model(watched: Watched) -> list[Object]:
    signals, selector = watched.signals, watched.selector
    histograms = {
        metrics.PROMPT_MEAN: signals.prompt_tokens,
        metrics.COMPLETION_MEAN: signals.completion_tokens,
        metrics.DIVERSITY_MEAN: signals.diversity,
    }
    rules = {
        metrics.BAD_SHARE: signals.bad_share(selector),
        **{
            name: None if series is None else signals.mean(series, selector)
            for name, series in histograms.items()
        },
    }
    return [record(watched, name, query) for name, query in rules.items() if query is not None]


def _infrastructure(watched: Watched) -> list[Object]:
    pods = f'{watched.pods()},container!=""'

    def of_limit(used: str, resource: str) -> str:
        limits = f'kube_pod_container_resource_limits{{{pods},resource="{resource}"}}'
        by = "by (namespace, pod, container)"
        return f"max by (pod) (sum {by} ({used}) / max {by} ({limits}))"

    memory = f"max by (namespace, pod, container) (container_memory_working_set_bytes{{{pods}}})"
    cpu = f"rate(container_cpu_usage_seconds_total{{{pods}}}[5m])"
    used, free = _gpu(watched, "DCGM_FI_DEV_FB_USED"), _gpu(watched, "DCGM_FI_DEV_FB_FREE")
    return [
        record(watched, metrics.MEMORY_SHARE, of_limit(memory, "memory")),
        record(watched, metrics.CPU_SHARE, of_limit(cpu, "cpu")),
        record(watched, metrics.GPU_SHARE, f"{_gpu(watched, 'DCGM_FI_DEV_GPU_UTIL')} / 100"),
        record(watched, metrics.GPU_MEMORY_SHARE, f"{used} / ({used} + {free})"),
        record(watched, metrics.GPU_CELSIUS, _gpu(watched, "DCGM_FI_DEV_GPU_TEMP")),
    ]


def _gpu(watched: Watched, name: str) -> str:
    """Return what dcgm-exporter says of the pods' GPUs.

    Prometheus renames the exporter's own ``pod`` to ``exported_pod`` unless it was told to honour it.
    """
    renamed = f'label_replace({name}{{{watched.pods("exported_")}}}, "pod", "$1", "exported_pod", "(.+)")'
    return f"max by (pod, gpu) ({name}{{{watched.pods()}}} or {renamed})"


def _business(watched: Watched) -> list[Object]:
    selector, rules = watched.selector, []
    for question in ("completed", "converted", "returned"):
        yes, every = (
            Series(metrics.FEEDBACK, f'question="{question}"{answer}').rate(selector, "1h")
            for answer in (',answer="yes"', "")
        )
        share = f"({yes} or vector(0)) / ({every} > 0)"
        rules += [
            record(watched, metrics.BUSINESS, share, metric=question),
            record(watched, metrics.BUSINESS_REPORTS, f"3600 * {every}", metric=question),
        ]
    rating = Series(metrics.RATING)
    rated = f"3600 * {rating.rate(selector, '1h', '_count')}"
    mean = watched.signals.mean(rating, selector, "1h")
    return [
        *rules,
        record(watched, metrics.BUSINESS, mean, metric="rating"),
        record(watched, metrics.BUSINESS_REPORTS, rated, metric="rating"),
        # Each value is of an hour already, so one of each week is the hour's.
        record(watched, metrics.BUSINESS_BASELINE, baseline(watched.recorded(metrics.BUSINESS), "5m")),
    ]
