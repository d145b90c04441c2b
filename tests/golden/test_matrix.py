"""Every target with every environment, rollout, traffic and autoscaling, validated against schemas."""

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
"""Fields of each target, and of a release that it can serve."""
NO_MIRROR = ("gateway-api", "envoy-gateway")
"""Argo Rollouts' plugin for these mirrors nothing."""
JUDGED = ("canary", "blue-green", "shadow", "ab")


def options(group):
    return sorted(file.stem for file in (ROOT / "conf" / group).glob("*.yaml"))


def is_synced(target):
    """Return whether Argo CD applies a target's files to a cluster."""
    target_class = yaml.safe_load((ROOT / "conf" / "deployment" / f"{target}.yaml").read_text())["_target_"]
    module, _, name = target_class.rpartition(".")
    return getattr(importlib.import_module(module), name).synced


@pytest.fixture(scope="module")
def refused():
    """Return what an API server would refuse in an object; each object is looked at once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    @functools.cache
    def problems(text):
        return kubernetes_judge.problems_of(yaml.load(text, Loader=loader))

    return problems


def test_matrix_covers_every_cluster_target():
    assert {name for name in options("deployment") if is_synced(name)} == set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_schemas_accept_every_combination(target, render_with, measured, refused):
    fields, release = TARGETS[target]
    rendered = 0
    combinations = itertools.product(
        options("environment"), options("rollout"), options("traffic"), options("autoscaling")
    )
    for environment, rollout, traffic, autoscaling in combinations:
        choice = {
            "deployment": (target, fields),
            "environment": (
                environment,
                {"domain": f"{environment}.example.com", "require_api_key": False},
            ),
            "rollout": rollout,
            "traffic": traffic,
            "autoscaling": autoscaling,
            "monitoring": measured,
            "release": release,
        }
        judged = rollout in JUDGED and environment != "dev"
        refusals = [
            judged and rollout != "blue-green" and traffic == "none",
            judged and rollout == "shadow" and traffic in NO_MIRROR,
            target == "vllm" and autoscaling == "hpa",  # by default on CPU use
            target == "kserve" and (judged or autoscaling != "hpa"),
        ]
        if any(refusals):
            with pytest.raises(PlanError):
                render_with(**choice)
            continue
        files = {name: text for name, text in render_with(**choice).items() if name.endswith(".yaml")}
        rendered += 1
        rejected = {name: problems for name, text in files.items() if (problems := refused(text))}
        assert not rejected, json.dumps({"choice": str(choice), "problems": rejected}, indent=2)
        kinds = {name.rpartition("/")[2].partition("-")[0] for name in files}
        assert ("rollout" in kinds) == judged
    assert rendered >= 15
