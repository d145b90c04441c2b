"""What recording rules make of a series, as promtool computes it."""

from framework.core import metric_names as metrics
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.signals import GITUNE

WATCHED = MonitoredRelease("tiny", "staging", GITUNE)
(SERVICE,) = (group for group in groups(WATCHED, 3) if group["name"] == "gitune.service")


def asked(query, at, value):
    samples = [] if value is None else [{"labels": query, "value": value}]
    return {"expr": query, "eval_time": at, "exp_samples": samples}


def test_a_baseline_is_the_mean_of_this_hour_of_three_weeks(judged):
    recorded, rate = map(WATCHED.recorded, (metrics.REQUEST_BASELINE, metrics.REQUEST_RATE))
    series = [{"series": rate, "values": "1x167 2x167 6x167 0x20"}]
    expected = [asked(recorded, *pair) for pair in (("100h", None), ("200h", 1), ("400h", 1.5), ("510h", 3))]
    test = {"interval": "1h", "input_series": series, "promql_expr_test": expected}
    assert judged([SERVICE], [test], "1h") == ""


def test_a_forecast_is_the_baseline_and_the_trend_of_what_is_above_it(judged):
    forecast, band, residual, usual = map(
        WATCHED.recorded,
        (metrics.REQUEST_FORECAST, metrics.REQUEST_BAND, metrics.REQUEST_RESIDUAL, metrics.REQUEST_BASELINE),
    )
    # Ten a second for this hour of earlier weeks, and of late one more each half hour.
    series = [
        {"series": usual, "values": "10x40"},
        {"series": residual, "values": "0+1x40"},
    ]
    # At 10h the last that is seen is the nineteenth half hour's; the line goes on for one more.
    expected = [asked(forecast, "3h", None), asked(forecast, "10h", 30), asked(band, "10h", 6)]
    test = {"interval": "30m", "input_series": series, "promql_expr_test": expected}
    assert judged([SERVICE], [test], "30m") == ""


def test_two_versions_are_compared_side_by_side(judged):
    own = 'namespace="staging",release="tiny",pod="p",question="converted"'
    given = {("a", "yes"): 30, ("a", "no"): 70, ("b", "no"): 50}
    series = [
        {
            "series": f'{metrics.FEEDBACK}{{{own},version="{version}",answer="{answer}"}}',
            "values": f"0+{each}x30",
        }
        for (version, answer), each in given.items()
    ]
    (business,) = (board for board in boards(WATCHED, Bounds()) if board.level == "business")
    (panel,) = (panel for panel in business.panels if panel.title == "Conversion by version")
    shares = [
        {"labels": f'{{version="{version}"}}', "value": value} for version, value in (("a", 0.3), ("b", 0))
    ]
    expected = {"expr": panel.queries[0][0], "eval_time": "100m", "exp_samples": shares}
    test = {"interval": "5m", "input_series": series, "promql_expr_test": [expected]}
    assert judged([SERVICE], [test], "5m") == ""
