"""Each alert fires when it should and stays silent otherwise, as promtool evaluates it."""

from dataclasses import dataclass

import pytest

from framework.core import metric_names as metrics
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import GITUNE, TRITON, VLLM

BOUNDS = Bounds()
RELEASE = MonitoredRelease("tiny", "staging", GITUNE, ("gateway",))
RUNBOOKS = "https://example.com/docs/runbooks/"
POD = "tiny-7d9c5b8f4-x2x7k"
OWN = f'namespace="staging",release="tiny",pod="{POD}"'
OTHER = 'namespace="staging",pod="tiny-b-7d9c5b8f4-x2x7k"'
CONTAINER = f'namespace="staging",pod="{POD}",container="server"'
EXPIRY = "certmanager_certificate_expiration_timestamp_seconds"
WEEK = 7 * 24 * 12
"""Samples of a week, one every five minutes."""


@dataclass(frozen=True)
class Case:
    """Series for which an alert fires, and others for which it does not."""

    fires: list[dict[str, str]]
    silent: list[dict[str, str]]
    at: str = "30m"
    step: str = "1m"
    every: str = "1m"


def rules(release=RELEASE, bounds=BOUNDS, only=None):
    """Return all rule groups, or one alert with the recording rules of its level."""
    chosen = [alert for alert in alerts(release, bounds) if only in (None, alert.name)]
    recorded = [
        group
        for group in groups(release, bounds.band_sigmas)
        if only is None or group["name"] == f"gitune.{chosen[0].level}"
    ]
    return [
        *recorded,
        {"name": "gitune.alerts", "rules": [alert.rule(release, RUNBOOKS) for alert in chosen]},
    ]


def promtool_test(series, step, **tests):
    return {
        "interval": step,
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        **tests,
    }


def pods(value, name, labels=CONTAINER):
    return {f"{name}{{{labels}}}": value}


def memory(used, labels=CONTAINER):
    return {
        **pods(used, "container_memory_working_set_bytes", labels),
        **pods("100x60", "kube_pod_container_resource_limits", f'{labels},resource="memory"'),
    }


def cpu(used):
    limit = pods("2x60", "kube_pod_container_resource_limits", f'{CONTAINER},resource="cpu"')
    return {**pods(used, "container_cpu_usage_seconds_total"), **limit}


def requests(value, code="200", labels=OWN):
    return {f'{metrics.REQUESTS}{{{labels},code="{code}"}}': value}


def buckets(fast, all_):
    name = f"{metrics.REQUEST_SECONDS}_bucket"
    return {
        f'{name}{{{OWN},le="10"}}': fast,
        f'{name}{{{OWN},le="30"}}': all_,
        f'{name}{{{OWN},le="+Inf"}}': all_,
    }


def lengths(name, *means):
    """A histogram of one request per minute with each of *means* for six hours, the last for 20 minutes."""
    steps, total = [], 0.0
    for number, mean in enumerate(means):
        samples = 4 if number == len(means) - 1 else 72
        steps.append(f"{total + 5 * mean:g}+{5 * mean:g}x{samples - 1}")
        total += 5 * mean * samples
    return {f"{name}_sum{{{OWN}}}": " ".join(steps), f"{name}_count{{{OWN}}}": "5+5x400"}


def feedback(question, yes, no):
    """Counters of *yes* and *no* reports per five minutes, each as (all week, this hour)."""
    series = {}
    for answer, (week, now) in (("yes", yes), ("no", no)):
        key = f'{metrics.FEEDBACK}{{{OWN},question="{question}",answer="{answer}"}}'
        series[key] = f"0+{week}x{WEEK} {week * WEEK + now}+{now}x24"
    return series


def rating(week, now):
    def counter(before, after):
        return f"0+{before:g}x{WEEK} {before * WEEK + after:g}+{after:g}x24"

    name = metrics.RATING
    return {f"{name}_sum{{{OWN}}}": counter(20 * week, 20 * now), f"{name}_count{{{OWN}}}": counter(20, 20)}


def traffic(week, now):
    """Requests per second: *week* for a week and five hours, then *now*."""
    usual = WEEK + 60
    return requests(f"0+{300 * week:g}x{usual} {300 * (week * usual + now):g}+{300 * now:g}x24")


def length_case(name):
    return Case(
        fires=[lengths(name, 90, 110, 90, 110, 150), lengths(name, 90, 110, 90, 110, 60)],
        silent=[lengths(name, 90, 110, 90, 110, 112), lengths(name, 50, 50, 50, 50, 50.8)],
        at="1455m",
        step="5m",
        every="5m",
    )


WEEKLY = {"at": "170h", "step": "5m", "every": "15m"}
AFTER = {"at": "10410m", "step": "5m", "every": "15m"}
CASES = {
    "GituneMemoryHigh": Case(
        fires=[memory("90x60")],
        silent=[memory("80x60"), memory("50x20 90x4 50x20"), memory("95x60", f'{OTHER},container="server"')],
        at="25m",
    ),
    "GituneCpuHigh": Case(fires=[cpu("0+108x60")], silent=[cpu("0+90x60")]),
    "GituneGpuHigh": Case(
        fires=[
            pods("95x60", "DCGM_FI_DEV_GPU_UTIL", f'{CONTAINER},gpu="0"'),
            pods(
                "95x60",
                "DCGM_FI_DEV_GPU_UTIL",
                f'namespace="gpu",pod="dcgm-1",exported_namespace="staging",exported_pod="{POD}",gpu="0"',
            ),
        ],
        silent=[
            pods("80x60", "DCGM_FI_DEV_GPU_UTIL", f'{CONTAINER},gpu="0"'),
            pods("95x60", "DCGM_FI_DEV_GPU_UTIL", f'{OTHER},gpu="0"'),
        ],
    ),
    "GituneCertificateExpiring": Case(
        fires=[
            {f'{EXPIRY}{{namespace="gateway",name="web"}}': "864000x60"},
            {f'{EXPIRY}{{namespace="cert-manager",exported_namespace="staging",name="web"}}': "864000x60"},
        ],
        silent=[
            {f'{EXPIRY}{{namespace="staging",name="web"}}': "2592000x60"},
            {f'{EXPIRY}{{namespace="other",name="web"}}': "864000x60"},
        ],
    ),
    "GituneDown": Case(
        fires=[{}, {f"{metrics.READY}{{{OWN}}}": "0x60"}, {f"{metrics.READY}{{{OWN}}}": "1x10"}],
        silent=[
            {f"{metrics.READY}{{{OWN}}}": "1x60"},
            {f"{metrics.READY}{{{OWN}}}": "0x60", f'{metrics.READY}{{{OWN},instance="b"}}': "1x60"},
        ],
    ),
    "GituneLatencyHigh": Case(
        fires=[buckets("0+90x60", "0+100x60")], silent=[buckets("0+100x60", "0+100x60"), {}]
    ),
    "GituneFailures": Case(
        fires=[{**requests("0+90x60"), **requests("0+10x60", "500")}, requests("0+10x60", "503")],
        silent=[
            {**requests("0+99x60"), **requests("0+1x60", "500")},
            {**requests("0+90x60"), **requests("0+10x60", "404")},
            {**requests("0+90x60"), **requests("0+10x60", "503", f'{OWN},refused="shutting_down"')},
            {**requests("0+90x60"), **requests("0+10x60", "500", OWN.replace("tiny", "other"))},
        ],
    ),
    "GituneTimeouts": Case(
        fires=[{**requests("0+100x60"), f"{metrics.TIMEOUTS}{{{OWN}}}": "0+10x60"}],
        silent=[{**requests("0+100x60"), f"{metrics.TIMEOUTS}{{{OWN}}}": "0+1x60"}, requests("0+100x60")],
    ),
    "GituneQueueOld": Case(
        fires=[{f"{metrics.OLDEST_WAITING_SECONDS}{{{OWN}}}": "40x60"}],
        silent=[
            {f"{metrics.OLDEST_WAITING_SECONDS}{{{OWN}}}": "20x60"},
            {f"{metrics.OLDEST_WAITING_SECONDS}{{{OWN}}}": "0x28 40x1 0x30"},
        ],
    ),
    "GituneTrafficFall": Case(
        fires=[requests("0+600x24 14760+360x30"), requests("0+600x24 14400x30")],
        silent=[
            requests("0+600x24 14880+480x30"),
            requests("0+6x24 144x30"),
            requests("0+600x60"),
            # The same pod through two Services, one of which goes; and copies to a shadow that end.
            {
                **requests("0+600x60", labels=f'{OWN},service="tiny"'),
                **requests("0+600x24", labels=f'{OWN},service="tiny-canary"'),
                **requests("0+600x24 14400x30", labels=f'{OWN},service="tiny-shadow"'),
            },
        ],
    ),
    "GituneTrafficUnderBaseline": Case(
        fires=[traffic(10, 5)], silent=[traffic(10, 8), traffic(0.5, 0.1), traffic(10, 30)], **AFTER
    ),
    "GituneTrafficOffForecast": Case(
        fires=[traffic(10, 14), traffic(10, 6)], silent=[traffic(10, 10.5), traffic(0.5, 0.1)], **AFTER
    ),
    "GituneBadOutputs": Case(
        fires=[{f"{metrics.BAD_OUTPUTS_IN_A_ROW}{{{OWN}}}": "0+1x10"}],
        silent=[{f"{metrics.BAD_OUTPUTS_IN_A_ROW}{{{OWN}}}": "0+1x9 0x60"}],
        at="10m",
    ),
    "GituneInputLengthDrift": length_case(metrics.REQUEST_PROMPT_TOKENS),
    "GituneOutputLengthDrift": length_case(metrics.REQUEST_COMPLETION_TOKENS),
    "GituneSuccessLow": Case(
        fires=[feedback("completed", (80, 80), (20, 20)), feedback("completed", (0, 0), (10, 10))],
        silent=[feedback("completed", (95, 95), (5, 5)), feedback("completed", (1, 1), (1, 1))],
        at="3h",
        step="5m",
        every="5m",
    ),
    "GituneBusinessUnderBaseline": Case(
        fires=[rating(4.5, 3.5), feedback("returned", (50, 40), (50, 60))],
        silent=[rating(4.5, 4.2), feedback("returned", (50, 46), (50, 54))],
        **WEEKLY,
    ),
    "GituneConversionDrift": Case(
        fires=[feedback("converted", (10, 13), (90, 87)), feedback("converted", (10, 7), (90, 93))],
        silent=[feedback("converted", (10, 11), (90, 89)), feedback("converted", (2, 1), (0, 1))],
        **WEEKLY,
    ),
}


MARKS = {"15m": pytest.mark.slow}  # promtool takes seven seconds for a week of samples
MARKED = [pytest.param(name, marks=MARKS.get(case.every, ())) for name, case in CASES.items()]


@pytest.mark.parametrize("name", MARKED)
def test_alert_fires_only_when_it_should(name, judged):
    case = CASES[name]
    firing = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
    tests = []
    for series, count in [
        *((firing_series, 1) for firing_series in case.fires),
        *((silent, 0) for silent in case.silent),
    ]:
        expected = {"expr": firing, "eval_time": case.at, "exp_samples": [{"labels": "{}", "value": count}]}
        tests.append(promtool_test(series, case.step, promql_expr_test=[expected]))
    assert judged(rules(only=name), tests, case.every) == ""


def test_every_alert_has_a_case():
    assert {alert.name for alert in alerts(RELEASE, BOUNDS)} == set(CASES)


def test_alert_has_labels_summary_and_runbook(judged):
    labels = {"level": "infrastructure", "namespace": "staging", "release": "tiny", "severity": "critical"}
    expected = {
        "alertname": "GituneMemoryHigh",
        "eval_time": "25m",
        "exp_alerts": [
            {
                "exp_labels": {**labels, "pod": POD},
                "exp_annotations": {
                    "runbook_url": f"{RUNBOOKS}GituneMemoryHigh.md",
                    "summary": f"tiny in staging: pod {POD} uses 90% of its memory",
                },
            }
        ],
    }
    assert judged(rules(), [promtool_test(memory("90x60"), "1m", alert_rule_test=[expected])]) == ""


def test_every_threshold_is_used():
    usual = str(rules())
    for name, field in Bounds.model_fields.items():
        changed = BOUNDS.model_copy(update={name: field.default + 1})
        assert str(rules(bounds=changed)) != usual, f"bounds.{name} is in no rule"


def test_default_thresholds_match_the_requirements():
    assert (BOUNDS.busy_percent, BOUNDS.busy_minutes, BOUNDS.fall_percent) == (85, 5, 30)
    assert (BOUNDS.bad_in_a_row, BOUNDS.length_sigmas) == (10, 2)
    assert (BOUNDS.success_percent, BOUNDS.business_fall_percent, BOUNDS.conversion_points) == (90, 15, 2)


@pytest.mark.parametrize(
    ("signals", "missing"), [(GITUNE, 0), (VLLM, 1), (TRITON, 4)], ids=["ours", "vllm", "triton"]
)
def test_alerts_on_missing_metrics_are_left_out(signals, missing, judged):
    release = MonitoredRelease("tiny", "staging", signals)
    assert len(alerts(release, BOUNDS)) == len(CASES) - missing
    assert judged(rules(release), []) == ""
