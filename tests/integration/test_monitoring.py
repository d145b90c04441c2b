"""A real Prometheus with the rendered rules scrapes the server's metrics."""

import contextlib
from pathlib import Path

import httpx
import pytest
from prometheus_client import start_http_server
from prometheus_process import needs_prometheus, prometheus, value_of
from server_process import eventually

from framework.core import metric_names as metrics
from framework.core.release import Release
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import GITUNE
from framework.serving.telemetry.metrics import Metrics
from framework.serving.telemetry.outputs import judge

RELEASE = Release.read(Path(__file__).parents[1] / "golden" / "tiny.lock")
WATCHED = MonitoredRelease("tiny", "staging", GITUNE)


@contextlib.contextmanager
def exposing(server_metrics):
    server, thread = start_http_server(0, "127.0.0.1", server_metrics.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server_metrics():
    """A server's metrics after 30 requests: 3 failed, 12 had a bad output."""
    counters = Metrics(RELEASE)
    counters.ready.set(1)
    for number in range(30):
        counters.requests.labels("/v1/chat/completions", "500" if number < 3 else "200", "").inc()
        counters.seconds.labels("/v1/chat/completions").observe(0.2)
    for _ in range(12):
        counters.judged(judge("", cut=False), 0)
    counters.reported("a", {"completed": True}, 4)
    return counters


@needs_prometheus
def test_prometheus_loads_all_rules_and_answers_all_panels(server_metrics, tmp_path):
    with exposing(server_metrics) as target, prometheus(tmp_path, WATCHED, target) as url:
        assert eventually(lambda: value_of(url, f"{metrics.READY}") == 1), (tmp_path / "log").read_text()
        # A rate needs growth between two scrapes.
        server_metrics.requests.labels("/v1/chat/completions", "500", "").inc(10)
        server_metrics.requests.labels("/v1/chat/completions", "200", "").inc(30)
        failed = WATCHED.recorded(metrics.FAILURE_SHARE)
        assert eventually(lambda: value_of(url, failed) == pytest.approx(0.25, abs=0.01))
        firing = 'ALERTS{alertname="GituneBadOutputs",alertstate="firing",severity="critical"}'
        assert eventually(lambda: value_of(url, firing) == 1)
        assert value_of(url, 'ALERTS{alertname="GituneDown"}') is None
        loaded = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        states = {
            (rule["name"], rule["health"], rule.get("lastError"))
            for group in loaded
            for rule in group["rules"]
        }
        assert {(health, error) for _, health, error in states} == {("ok", None)}, states
        assert {name for name, *_ in states} == metrics.RECORDED | {a.name for a in alerts(WATCHED, Bounds())}
        values = {
            query: value_of(url, query)
            for board in boards(WATCHED, Bounds())
            for p in board.panels
            for query, _ in p.queries
        }
        answered = {query for query, value in values.items() if value is not None}
        assert WATCHED.recorded(metrics.REQUEST_RATE) in answered
        assert f"max by (metric) ({GITUNE.offline.of(WATCHED.selector)})" in answered
