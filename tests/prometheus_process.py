"""A real Prometheus with all rules of a release, which scrapes one server each second."""

import contextlib
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from server_process import free_port

from framework.core import yaml
from framework.delivery.monitoring.alerts import alerts
from framework.delivery.monitoring.recording import groups
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds

needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus")


@contextlib.contextmanager
def prometheus(folder: Path, watched: MonitoredRelease, target: int) -> Iterator[str]:
    """Run it with the server at the port *target* as a pod of *watched*; return its URL."""
    bounds, port = Bounds(), free_port()
    alert_rules = [alert.rule(watched, "https://example.com") for alert in alerts(watched, bounds)]
    rules = {"groups": [*groups(watched, 3.0), {"name": "gitune.alerts", "rules": alert_rules}]}
    (folder / "rules.yaml").write_text(yaml.dump(rules))
    labels = {**watched.labels, "pod": f"{watched.name}-7d9c5b8f4-x2x7k"}
    scrape = {"job_name": "tiny", "static_configs": [{"labels": labels, "targets": [f"127.0.0.1:{target}"]}]}
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


def values_of(url: str, query: str) -> list[float]:
    """Return the values of a query that are numbers; none while it starts."""
    try:
        response = httpx.get(f"{url}/api/v1/query", params={"query": query})
    except httpx.TransportError:
        return []
    if response.status_code == 503:
        return []
    answer = response.json()
    assert answer["status"] == "success", (query, answer)
    values = (float(series["value"][1]) for series in answer["data"]["result"])
    return [value for value in values if not math.isnan(value)]


def value_of(url: str, query: str) -> float | None:
    """Return the first value of a query, None if there is none."""
    values = values_of(url, query)
    return values[0] if values else None
