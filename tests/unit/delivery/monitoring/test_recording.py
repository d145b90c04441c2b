"""Results of the recording rules, as promtool evaluates them."""

from framework.core import metric_names as metrics
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import GITUNE

RELEASE = MonitoredRelease("tiny", "staging", GITUNE)
(SERVICE,) = (group for group in groups(RELEASE, 3) if group["name"] == "gitune.service")


def expectation(query, at, value):
    samples = [] if value is None else [{"labels": query, "value": value}]
    return {"expr": query, "eval_time": at, "exp_samples": samples}


def test_baseline_averages_this_hour_of_three_weeks(judged):
    recorded, rate = map(RELEASE.recorded, (metrics.REQUEST_BASELINE, metrics.REQUEST_RATE))
    series = [{"series": rate, "values": "1x167 2x167 6x167 0x20"}]
    expected = [
        expectation(recorded, *pair) for pair in (("100h", None), ("200h", 1), ("400h", 1.5), ("510h", 3))
    ]
    test = {"interval": "1h", "input_series": series, "promql_expr_test": expected}
    assert judged([SERVICE], [test], "1h") == ""


def test_forecast_is_baseline_plus_trend_of_the_residual(judged):
    forecast, band, residual, usual = map(
        RELEASE.recorded,
        (metrics.REQUEST_FORECAST, metrics.REQUEST_BAND, metrics.REQUEST_RESIDUAL, metrics.REQUEST_BASELINE),
    )
    # Ten per second at this hour of previous weeks, and recently one more each half hour.
    series = [
        {"series": usual, "values": "10x40"},
        {"series": residual, "values": "0+1x40"},
    ]
    # At 10h the last residual is the nineteenth half hour's; the line is extended by one more.
    expected = [
        expectation(forecast, "3h", None),
        expectation(forecast, "10h", 30),
        expectation(band, "10h", 6),
    ]
    test = {"interval": "30m", "input_series": series, "promql_expr_test": expected}
    assert judged([SERVICE], [test], "30m") == ""


def test_versions_have_separate_series(judged):
    own = 'namespace="staging",release="tiny",pod="p",question="converted"'
    reports = {("a", "yes"): 30, ("a", "no"): 70, ("b", "no"): 50}
    series = [
        {
            "series": f'{metrics.FEEDBACK}{{{own},version="{version}",answer="{answer}"}}',
            "values": f"0+{step}x30",
        }
        for (version, answer), step in reports.items()
    ]
    (business,) = (board for board in boards(RELEASE, Bounds()) if board.level == "business")
    (panel,) = (panel for panel in business.panels if panel.title == "Conversion by version")
    shares = [
        {"labels": f'{{version="{version}"}}', "value": value} for version, value in (("a", 0.3), ("b", 0))
    ]
    expected = {"expr": panel.queries[0][0], "eval_time": "100m", "exp_samples": shares}
    test = {"interval": "5m", "input_series": series, "promql_expr_test": [expected]}
    assert judged([SERVICE], [test], "5m") == ""
