"""Every rollout that is judged: its seconds, added up from what is rendered, and what it refuses."""

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
"""Seconds until the controller has acted and every proxy has heard of it."""
POLL = 180
"""Seconds until Argo CD has seen a commit, where nobody tells it: 120, and up to 60 later."""
every = pytest.mark.parametrize(
    ("rollout", "traffic"),
    [*((rollout, "istio") for rollout in ROLLOUTS), *((r, "gateway-api") for r in ROLLOUTS if r != "shadow")],
)


def seconds(text):
    assert text.endswith("s")
    return int(text.removesuffix("s"))


def start_seconds(pod):
    """Return how long the pod may take to load by its probe, and as long again to fetch."""
    probe = pod["containers"][0]["startupProbe"]
    return 2 * probe["failureThreshold"] * probe["periodSeconds"]


@every
def test_an_abort_is_over_within_five_minutes(rendered, rollout, traffic):
    found = rendered(rollout=rollout, traffic=traffic)
    strategy = found["Rollout", "tiny"]["spec"]["strategy"]
    for metric in found["AnalysisTemplate", "tiny"]["spec"]["metrics"]:
        measured = seconds(metric["initialDelay"]) + seconds(metric["interval"]) * (
            metric["failureLimit"] + 1
        )
        assert measured + REACTION <= 300
        assert measured + REACTION == ROLLOUTS[rollout]().abort_seconds
    # The way back starts no pod: all old ones are kept until the new release is judged.
    assert "dynamicStableScale" not in strategy.get("canary", {})
    if "blueGreen" in strategy:
        metric = found["AnalysisTemplate", "tiny"]["spec"]["metrics"][0]
        judged = seconds(metric["initialDelay"]) + seconds(metric["interval"]) * metric["count"]
        assert strategy["blueGreen"]["scaleDownDelaySeconds"] > judged


@every
def test_a_rollback_is_over_within_five_minutes(rendered, rollout, traffic):
    spec = rendered(rollout=rollout, traffic=traffic)["Rollout", "tiny"]["spec"]
    kept = spec["strategy"].get("blueGreen", {}).get("scaleDownDelaySeconds", 0)
    start = 0 if kept >= 3600 else start_seconds(spec["template"]["spec"])
    assert POLL + start + REACTION <= 300
    # Steps and judges are skipped on the way to one of the last releases, whose pods can be made again.
    assert spec["rollbackWindow"]["revisions"] < spec["revisionHistoryLimit"]
    # A rollback that skips the steps takes over their last weight while its pods start.
    weights = [
        step["setWeight"]
        for step in spec["strategy"].get("canary", {}).get("steps", [])
        if "setWeight" in step
    ]
    assert all(weight < 100 for weight in weights)


def test_the_page_on_rollouts_adds_up_the_same():
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


def test_a_canary_goes_from_one_to_five_percent_to_all(rendered):
    canary = rendered(rollout="canary", traffic="istio")["Rollout", "tiny"]["spec"]["strategy"]["canary"]
    pause = {"pause": {"duration": "600s"}}
    assert canary["steps"] == [{"setWeight": 1}, pause, {"setWeight": 5}, pause]
    assert canary["analysis"]["startingStep"] == 1
    hashes = {arg["name"]: arg["valueFrom"]["podTemplateHashValue"] for arg in canary["analysis"]["args"]}
    assert hashes == {"new": "Latest", "old": "Stable"}


@every
def test_what_a_rollout_names_is_there(rendered, rollout, traffic):
    found = rendered(rollout=rollout, traffic=traffic)
    (strategy,) = found["Rollout", "tiny"]["spec"]["strategy"].values()
    services = {strategy[key] for key in strategy if key.endswith("Service")}
    assert services == {name for kind, name in found if kind == "Service"}
    assert len(services) == 2
    judges = [
        strategy[key]
        for key in ("analysis", "prePromotionAnalysis", "postPromotionAnalysis")
        if key in strategy
    ]
    named = {template["templateName"] for judge in judges for template in judge["templates"]}
    assert named == {name for kind, name in found if kind == "AnalysisTemplate"}
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
        routes = found["VirtualService", routing["istio"]["virtualService"]["name"]]["spec"]["http"]
        assert {route["name"] for route in routes} == set(routing["istio"]["virtualService"]["routes"])
    elif routing:
        (route,) = routing["plugins"]["argoproj-labs/gatewayAPI"]["httpRoutes"]
        assert ("HTTPRoute", route["name"]) in found


def test_old_pods_that_start_beside_new_ones_are_still_the_old_release(rendered):
    spec = rendered(rollout="canary", traffic="istio")["Rollout", "tiny"]["spec"]["template"]
    volume = next(v for v in spec["spec"]["volumes"] if v["name"] == "config")
    files = {}
    for item in volume["downwardAPI"]["items"]:
        key = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
        files[item["path"]] = spec["metadata"]["annotations"][key]
    plain = rendered()["ConfigMap", "tiny"]["data"]
    assert files == plain
    assert not [kind for kind, _ in rendered(rollout="canary", traffic="istio") if kind == "ConfigMap"]


def test_both_arms_are_recorded(rendered):
    found = rendered(rollout=("ab", {"share": 20}), traffic="istio")
    canary = found["Rollout", "tiny"]["spec"]["strategy"]["canary"]
    assert canary["stableMetadata"]["labels"] == {"gitune.dev/arm": "a"}
    assert canary["canaryMetadata"]["labels"] == {"gitune.dev/arm": "b"}
    assert canary["steps"][0] == {"setWeight": 20}
    to = found["VirtualService", "tiny"]["spec"]["http"][0]["route"]
    assert [each["headers"]["response"]["set"]["x-gitune-service"] for each in to] == ["tiny", "tiny-b"]


def test_the_preview_is_asked_before_it_gets_a_request(rendered):
    found = rendered(rollout="blue-green")
    (metric,) = found["AnalysisTemplate", "tiny-preview"]["spec"]["metrics"]
    ready = found["Rollout", "tiny"]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"][
        "httpGet"
    ]["path"]
    assert metric["provider"]["web"]["url"] == f"http://tiny-preview.gitune-production.svc:80{ready}"
    policy = found["NetworkPolicy", "tiny"]["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "argo-rollouts"}}} in policy


@pytest.mark.parametrize("rollout", ["canary", "blue-green", "shadow", "ab"])
def test_where_there_is_no_traffic_to_judge_by_pods_are_replaced_in_one_go(rendered, rollout):
    found = rendered(environment={"progressive": False}, rollout=rollout, monitoring="none")
    assert ("Deployment", "tiny") in found
    assert not [kind for kind, _ in found if kind in ("Rollout", "AnalysisTemplate")]


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
def test_what_cannot_work_names_the_override_that_mends_it(rendered, chosen, override):
    with pytest.raises(PlanError) as refused:
        rendered(**{"rollout": "canary", **chosen})
    assert override in [each for problem in refused.value.problems for each in problem.overrides]


def test_a_slow_start_is_borne_where_a_webhook_tells_argo_or_the_old_pods_are_kept(rendered):
    slow = {"startup_seconds": 140}
    assert rendered(rollout="canary", traffic="istio", deployment=slow, environment={"sync_seconds": 10})
    assert rendered(rollout="blue-green", deployment={"startup_seconds": 600})


@pytest.mark.parametrize(
    ("option", "fields", "message"),
    [
        (Canary, {"weights": (5, 1)}, "should ascend"),
        (Canary, {"weights": (1, 100)}, "less than or equal to 99"),
        (Canary, {"inconclusive_limit": 36}, "lets a release through that nobody measured"),
        (BlueGreen, {"judge_seconds": 300}, "lets a release through that nobody measured"),
        (Ab, {"header": "x arm"}, "match pattern"),
        (Shadow, {"percent": 0}, "greater than or equal to 1"),
    ],
)
def test_fields_that_judge_nothing_are_refused(option, fields, message):
    with pytest.raises(ValidationError, match=message):
        option(**fields)
