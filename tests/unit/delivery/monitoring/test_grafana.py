"""Dashboards as Grafana reads them, checked as data without a Grafana."""

import json
from pathlib import Path

import pytest

from framework.core.release import Release
from framework.delivery.monitoring.grafana import config_map
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.identity import Identity
from framework.manifests.server_signals import GITUNE, TRITON, VLLM

SERVERS = {"ours": GITUNE, "vllm": VLLM, "triton": TRITON}
IDENTITY = Identity.of(Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock"), "staging")


def rendered(signals=GITUNE, **options):
    fields = {"label": "grafana_dashboard", "folder": "Gitune", **options}
    return config_map(IDENTITY, boards(MonitoredRelease.of(IDENTITY, signals), Bounds()), **fields)


@pytest.mark.parametrize("signals", SERVERS.values(), ids=SERVERS)
def test_dashboards_have_levels_and_distinct_panels(signals):
    dashboards = {name: json.loads(text) for name, text in rendered(signals)["data"].items()}
    levels = {name.removeprefix("staging-tiny-").removesuffix(".json") for name in dashboards}
    # Triton handles tensors only, neither tokens nor texts.
    assert levels == {"infrastructure", "service", "business"} | (set() if signals is TRITON else {"model"})
    assert len({board["uid"] for board in dashboards.values()}) == len(dashboards)
    for board in dashboards.values():
        assert len(board["uid"]) <= 40
        taken = set()
        assert len(board["panels"]) > 2
        for panel in board["panels"]:
            position = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(position["x"], position["x"] + position["w"])
                for y in range(position["y"], position["y"] + position["h"])
            }
            assert position["x"] + position["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
            references = [target["refId"] for target in panel["targets"]]
            assert references
            assert len(set(references)) == len(references)
            assert panel["datasource"]["uid"] == "${datasource}"
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
        (variable,) = board["templating"]["list"]
        assert (variable["name"], variable["type"], variable["query"]) == (
            "datasource",
            "datasource",
            "prometheus",
        )


def test_sidecar_label_and_folder_are_set():
    dashboards = rendered(label="dashboards", folder="Models")
    assert dashboards["metadata"]["labels"]["dashboards"] == "1"
    assert dashboards["metadata"]["annotations"]["grafana_folder"] == "Models"
