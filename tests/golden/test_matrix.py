"""Every target in every environment, by every rollout and traffic, as an API server would judge it."""

import functools
import importlib
import itertools
import json
from pathlib import Path

import kubernetes_judge
import pytest
import yaml

from framework.core.errors import PlanError

ROOT = Path(__file__).parents[2]
OURS = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
OTHERS = {"fetch_image": OURS, "image": f"registry.example.com/others/server@sha256:{'6' * 64}"}
TARGETS = {
    "kubernetes": ({"image": OURS}, {}),
    "vllm": ({**OTHERS, "startup_seconds": 50}, {"engine": "torch"}),
    "triton": (OTHERS, {"engine": "onnxruntime", "task": "sequence-classification"}),
    "kserve": ({"image": OURS}, {}),
}
"""What each is given, and the release that it can serve."""
JUDGED = ("canary", "blue-green", "shadow", "ab")


def options(group):
    return sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


def is_synced(target):
    """Tell whether Argo CD brings a target's files into a cluster."""
    named = yaml.safe_load((ROOT / "conf" / "deployment" / f"{target}.yaml").read_text())["_target_"]
    module, _, name = named.rpartition(".")
    return getattr(importlib.import_module(module), name).synced


@pytest.fixture(scope="module")
def refused():
    """Return what an API server would refuse in an object; each object is looked at once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    @functools.cache
    def problems(text):
        return kubernetes_judge.problems_of(yaml.load(text, Loader=loader))

    return problems


def test_every_target_of_a_cluster_is_here():
    assert {name for name in options("deployment") if is_synced(name)} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_an_api_server_would_take_everything(target, render_with, measured, refused):
    fields, release = TARGETS[target]
    rendered = 0
    chosen = itertools.product(
        options("environment"), options("rollout"), options("traffic"), options("autoscaling")
    )
    for environment, rollout, traffic, autoscaling in chosen:
        choice = {
            "deployment": (target, fields),
            "environment": (environment, {"domain": f"{environment}.example.com"}),
            "rollout": rollout,
            "traffic": traffic,
            "autoscaling": autoscaling,
            "monitoring": measured,
            "release": release,
        }
        judged = rollout in JUDGED and environment != "dev"
        cannot = [
            judged and rollout != "blue-green" and traffic == "none",
            judged and rollout == "shadow" and traffic == "gateway-api",  # whose plugin copies nothing
            target == "kserve" and (judged or autoscaling != "hpa"),
        ]
        if any(cannot):
            with pytest.raises(PlanError):
                render_with(**choice)
            continue
        files = {name: text for name, text in render_with(**choice).items() if name.endswith(".yaml")}
        rendered += 1
        found = {name: problems for name, text in files.items() if (problems := refused(text))}
        assert not found, json.dumps({"choice": str(choice), "problems": found}, indent=2)
        kinds = {name.rpartition("/")[2].partition("-")[0] for name in files}
        assert ("rollout" in kinds) == judged
    assert rendered >= 15
