"""Every judged rollout: its time limits, computed from the rendered objects, and what it refuses."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from framework.core.errors import PlanError
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.rollout.ab import Ab
from framework.delivery.rollout.blue_green import BlueGreen
from framework.delivery.rollout.canary import Canary
from framework.delivery.rollout.shadow import Shadow

ROLLOUTS = {"canary": Canary, "blue-green": BlueGreen, "shadow": Shadow, "ab": Ab}
REACTION = 10
"""Seconds until the controller acts and every proxy notices."""
POLL = 180
"""Seconds until Argo CD sees a commit without a webhook: 120, plus up to 60 of jitter."""
every = pytest.mark.parametrize(
    ("rollout", "traffic"),
    [*((rollout, "istio") for rollout in ROLLOUTS), *((r, "gateway-api") for r in ROLLOUTS if r != "shadow")],
)


def seconds(text):
    assert text.endswith("s")
    return int(text.removesuffix("s"))


def start_seconds(pod):
    """Return the probe's limit for loading, plus the same for fetching."""
    probe = pod["containers"][0]["startupProbe"]
    return 2 * probe["failureThreshold"] * probe["periodSeconds"]


@every
def test_abort_takes_at_most_five_minutes(rendered, rollout, traffic):
    objects = rendered(rollout=rollout, traffic=traffic)
    strategy = objects["Rollout", "tiny"]["spec"]["strategy"]
    for metric in objects["AnalysisTemplate", "tiny"]["spec"]["metrics"]:
        measured = seconds(metric["initialDelay"]) + seconds(metric["interval"]) * (
            metric["failureLimit"] + 1
        )
        assert measured + REACTION <= 300
        assert measured + REACTION == ROLLOUTS[rollout]().abort_seconds
    # An abort starts no pod: the old ones are kept until the judgment.
    assert "dynamicStableScale" not in strategy.get("canary", {})
    if "blueGreen" in strategy:
        metric = objects["AnalysisTemplate", "tiny"]["spec"]["metrics"][0]
        judged = seconds(metric["initialDelay"]) + seconds(metric["interval"]) * metric["count"]
        assert strategy["blueGreen"]["scaleDownDelaySeconds"] > judged


@every
def test_rollback_takes_at_most_five_minutes(rendered, rollout, traffic):
    spec = rendered(rollout=rollout, traffic=traffic)["Rollout", "tiny"]["spec"]
    kept = spec["strategy"].get("blueGreen", {}).get("scaleDownDelaySeconds", 0)
    start = 0 if kept >= 3600 else start_seconds(spec["template"]["spec"])
    assert POLL + start + REACTION <= 300
    # A rollback to a recent release, whose ReplicaSet still exists, skips steps and analysis.
    assert spec["rollbackWindow"]["revisions"] < spec["revisionHistoryLimit"]
    # A rollback that skips the steps keeps the last weight while its pods start.
    weights = [
        step["setWeight"]
        for step in spec["strategy"].get("canary", {}).get("steps", [])
        if "setWeight" in step
    ]
    assert all(weight < 100 for weight in weights)


def test_docs_state_the_same_times():
    page = (Path(__file__).parents[4] / "docs" / "rollouts.md").read_text()
    sums = {
        what: numbers
        for what, *numbers in re.findall(r"\| \*\*(\w+)\*\* \| \*\*(\d+)\*\* \| \*\*(\d+)", page)
    }
    start = 2 * Kubernetes().startup_seconds
    assert sums["abort"] == [str(option().abort_seconds) for option in (Canary, BlueGreen)]
    assert sums["rollback"] == [
        str(POLL + option().rollback_seconds(start)) for option in (Canary, BlueGreen)
    ]


def test_canary_steps_are_one_and_five_percent(rendered):
    canary = rendered(rollout="canary", traffic="istio")["Rollout", "tiny"]["spec"]["strategy"]["canary"]
    pause = {"pause": {"duration": "600s"}}
    assert canary["steps"] == [{"setWeight": 1}, pause, {"setWeight": 5}, pause]
    assert canary["analysis"]["startingStep"] == 1
    hashes = {arg["name"]: arg["valueFrom"]["podTemplateHashValue"] for arg in canary["analysis"]["args"]}
    assert hashes == {"new": "Latest", "old": "Stable"}


@every
def test_referenced_objects_exist(rendered, rollout, traffic):
    objects = rendered(rollout=rollout, traffic=traffic)
    (strategy,) = objects["Rollout", "tiny"]["spec"]["strategy"].values()
    services = {strategy[key] for key in strategy if key.endswith("Service")}
    assert services == {name for kind, name in objects if kind == "Service"}
    assert len(services) == 2
    analyses = [
        strategy[key]
        for key in ("analysis", "prePromotionAnalysis", "postPromotionAnalysis")
        if key in strategy
    ]
    named = {template["templateName"] for analysis in analyses for template in analysis["templates"]}
    assert named == {name for kind, name in objects if kind == "AnalysisTemplate"}
    routing = strategy.get("trafficRouting", {})
    managed = {route["name"] for route in routing.get("managedRoutes", [])}
    used = {
        step[key]["name"]
        for step in strategy.get("steps", [])
        for key in ("setMirrorRoute", "setHeaderRoute")
        if key in step
    }
    assert managed == used
    if "istio" in routing:
        routes = objects["VirtualService", routing["istio"]["virtualService"]["name"]]["spec"]["http"]
        assert {route["name"] for route in routes} == set(routing["istio"]["virtualService"]["routes"])
    elif routing:
        (route,) = routing["plugins"]["argoproj-labs/gatewayAPI"]["httpRoutes"]
        assert ("HTTPRoute", route["name"]) in objects


def test_pods_carry_the_files_of_their_release(rendered):
    spec = rendered(rollout="canary", traffic="istio")["Rollout", "tiny"]["spec"]["template"]
    volume = next(v for v in spec["spec"]["volumes"] if v["name"] == "config")
    files = {}
    for item in volume["downwardAPI"]["items"]:
        key = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
        files[item["path"]] = spec["metadata"]["annotations"][key]
    plain = rendered()["ConfigMap", "tiny"]["data"]
    assert files == plain
    assert not [kind for kind, _ in rendered(rollout="canary", traffic="istio") if kind == "ConfigMap"]


def test_ab_arms_are_labeled(rendered):
    objects = rendered(rollout=("ab", {"share": 20}), traffic="istio")
    canary = objects["Rollout", "tiny"]["spec"]["strategy"]["canary"]
    assert canary["stableMetadata"]["labels"] == {"gitune.dev/arm": "a"}
    assert canary["canaryMetadata"]["labels"] == {"gitune.dev/arm": "b"}
    assert canary["steps"][0] == {"setWeight": 20}
    to = objects["VirtualService", "tiny"]["spec"]["http"][0]["route"]
    assert [each["headers"]["response"]["set"]["x-gitune-service"] for each in to] == ["tiny", "tiny-b"]


def test_preview_is_checked_before_the_switch(rendered):
    objects = rendered(rollout="blue-green")
    (metric,) = objects["AnalysisTemplate", "tiny-preview"]["spec"]["metrics"]
    ready = objects["Rollout", "tiny"]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"][
        "httpGet"
    ]["path"]
    assert metric["provider"]["web"]["url"] == f"http://tiny-preview.gitune-production.svc:80{ready}"
    policy = objects["NetworkPolicy", "tiny"]["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "argo-rollouts"}}} in policy


@pytest.mark.parametrize("rollout", ["canary", "blue-green", "shadow", "ab"])
def test_environment_without_traffic_uses_rolling_updates(rendered, rollout):
    objects = rendered(environment={"progressive": False}, rollout=rollout, monitoring="none")
    assert ("Deployment", "tiny") in objects
    assert not [kind for kind, _ in objects if kind in ("Rollout", "AnalysisTemplate")]


@pytest.mark.parametrize(
    ("chosen", "override"),
    [
        ({"monitoring": "none", "traffic": "istio"}, "monitoring=prometheus"),
        ({"traffic": "none"}, "traffic=gateway-api"),
        ({"traffic": "gateway-api", "rollout": "shadow"}, "traffic=istio"),
        ({"traffic": "istio", "environment": {"domain": None}}, "environment.domain=<domain>"),
        ({"traffic": "istio", "deployment": {"startup_seconds": 60}}, "deployment.startup_seconds=50"),
        ({"traffic": "istio", "environment": {"sync_seconds": 300}}, "environment.sync_seconds=10"),
        (
            {"traffic": "istio", "rollout": ("canary", {"window_seconds": 300})},
            "rollout.window_seconds=120 rollout.interval_seconds=30 rollout.failure_limit=1",
        ),
    ],
)
def test_unworkable_rollout_names_the_override(rendered, chosen, override):
    with pytest.raises(PlanError) as refused:
        rendered(**{"rollout": "canary", **chosen})
    assert override in [each for problem in refused.value.problems for each in problem.overrides]


def test_slow_start_is_accepted_with_webhook_or_blue_green(rendered):
    slow = {"startup_seconds": 140}
    assert rendered(rollout="canary", traffic="istio", deployment=slow, environment={"sync_seconds": 10})
    assert rendered(rollout="blue-green", deployment={"startup_seconds": 600})


@pytest.mark.parametrize(
    ("option", "fields", "message"),
    [
        (Canary, {"weights": (5, 1)}, "should ascend"),
        (Canary, {"weights": (1, 100)}, "less than or equal to 99"),
        (Canary, {"inconclusive_limit": 36}, "inconclusive_limit"),
        (BlueGreen, {"judge_seconds": 300}, "inconclusive_limit"),
        (Ab, {"header": "x arm"}, "match pattern"),
        (Shadow, {"percent": 0}, "greater than or equal to 1"),
    ],
)
def test_fields_without_a_conclusive_judgment_are_rejected(option, fields, message):
    with pytest.raises(ValidationError, match=message):
        option(**fields)
