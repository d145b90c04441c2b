"""Dashboards as Grafana reads them; none can be started here, so they are judged as data."""

import json
from pathlib import Path

import pytest

from framework.core.release import Release
from framework.delivery.monitoring.grafana import config_map
from framework.delivery.monitoring.panels import boards
from framework.delivery.monitoring.selectors import MonitoredRelease
from framework.delivery.monitoring.thresholds import Bounds
from framework.manifests.identity import Identity
from framework.manifests.signals import GITUNE, TRITON, VLLM

SERVERS = {"ours": GITUNE, "vllm": VLLM, "triton": TRITON}
IDENTITY = Identity.of(Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock"), "staging")


def shown(signals=GITUNE, **options):
    given = {"label": "grafana_dashboard", "folder": "Gitune", **options}
    return config_map(IDENTITY, boards(MonitoredRelease.of(IDENTITY, signals), Bounds()), **given)


@pytest.mark.parametrize("signals", SERVERS.values(), ids=SERVERS)
def test_dashboards_have_four_levels_and_panels_that_do_not_overlap(signals):
    found = {name: json.loads(text) for name, text in shown(signals)["data"].items()}
    levels = {name.removeprefix("staging-tiny-").removesuffix(".json") for name in found}
    # Triton knows tensors only: neither tokens nor texts.
    assert levels == {"infrastructure", "service", "business"} | (set() if signals is TRITON else {"model"})
    assert len({board["uid"] for board in found.values()}) == len(found)
    for board in found.values():
        assert len(board["uid"]) <= 40
        taken = set()
        assert len(board["panels"]) > 2
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
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


def test_grafanas_sidecar_finds_the_dashboards():
    found = shown(label="dashboards", folder="Models")
    assert found["metadata"]["labels"]["dashboards"] == "1"
    assert found["metadata"]["annotations"]["grafana_folder"] == "Models"
