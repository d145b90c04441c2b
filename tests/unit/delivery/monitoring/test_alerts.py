"""Each alert fires when it should and stays silent otherwise, as promtool evaluates it."""

import pytest
from alert_cases import CASES, POD, memory

from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import GITUNE, TRITON, VLLM

BOUNDS = Bounds()
RELEASE = MonitoredRelease("tiny", "staging", GITUNE, ("gateway",))
RUNBOOKS = "https://example.com/docs/runbooks/"


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
    ("signals", "missing"), [(GITUNE, 0), (VLLM, 8), (TRITON, 13)], ids=["ours", "vllm", "triton"]
)
def test_alerts_on_missing_metrics_are_left_out(signals, missing, judged):
    release = MonitoredRelease("tiny", "staging", signals)
    assert len(alerts(release, BOUNDS)) == len(CASES) - missing
    assert judged(rules(release), []) == ""
