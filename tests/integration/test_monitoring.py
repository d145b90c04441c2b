"""A real Prometheus with the rendered rules scrapes the server's metrics."""

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client import start_http_server

from framework.core import metric_names as metrics
from framework.core import yaml
from framework.core.release import Release
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.server_signals import GITUNE
from framework.serving.telemetry.metrics import Metrics
from framework.serving.telemetry.outputs import judge

RELEASE = Release.read(Path(__file__).parents[1] / "golden" / "tiny.lock")
WATCHED = MonitoredRelease("tiny", "staging", GITUNE)
LABELS = {"namespace": "staging", "release": "tiny", "pod": "tiny-7d9c5b8f4-x2x7k"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def exposing(server_metrics):
    server, thread = start_http_server(0, "127.0.0.1", server_metrics.registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def prometheus(folder, target):
    """Run Prometheus with one target and every rule of the release."""
    bounds, port = Bounds(), free_port()
    alert_rules = [alert.rule(WATCHED, "https://example.com") for alert in alerts(WATCHED, bounds)]
    rules = {"groups": [*groups(WATCHED, 3.0), {"name": "gitune.alerts", "rules": alert_rules}]}
    (folder / "rules.yaml").write_text(yaml.dump(rules))
    scrape = {"job_name": "tiny", "static_configs": [{"labels": LABELS, "targets": [f"127.0.0.1:{target}"]}]}
    config = {
        "global": {"evaluation_interval": "1s", "scrape_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yaml").write_text(yaml.dump(config))
    options = {
        "config.file": folder / "prometheus.yaml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    with (folder / "log").open("w") as log:
        command = ["prometheus", *(f"--{key}={value}" for key, value in options.items())]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


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


def value_of(url, query):
    """Return the first value of a query, None if there is none."""
    response = httpx.get(f"{url}/api/v1/query", params={"query": query})
    if response.status_code == 503:  # still starting
        return None
    answer = response.json()
    assert answer["status"] == "success", (query, answer)
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else None


def eventually(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus")
def test_prometheus_loads_all_rules_and_answers_all_panels(server_metrics, tmp_path):
    with exposing(server_metrics) as target, prometheus(tmp_path, target) as url:
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
