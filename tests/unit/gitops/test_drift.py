"""What is drift, and what an API server or a controller may write without being told of it."""

import copy
from pathlib import Path

import pytest
import yaml

from framework.gitops.drift import drift

GOLDEN = Path(__file__).parents[2] / "golden" / "environments" / "production"


def read(name):
    return yaml.safe_load((GOLDEN / name).read_text())


@pytest.fixture
def pair():
    """A Deployment as Git has it, and as an API server gives it back."""
    git = read("tiny/deployment-tiny.yaml")
    live = copy.deepcopy(git)
    live["metadata"] |= {"uid": "1", "resourceVersion": "7", "generation": 3, "managedFields": [{}]}
    live["status"] = {"replicas": 2}
    live["spec"]["replicas"] = 7  # the autoscaler's
    pod = live["spec"]["template"]["spec"]
    pod |= {"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    for container in pod["containers"]:
        container |= {"terminationMessagePath": "/dev/termination-log"}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            container[probe]["httpGet"]["scheme"] = "HTTP"
    return git, live


def test_what_the_server_fills_in_is_no_drift(pair):
    assert drift(*pair) == []


def test_every_field_that_differs_is_named(pair):
    git, live = pair
    container = live["spec"]["template"]["spec"]["containers"][0]
    name, image = container["name"], container["image"]
    container["image"] = "other:1"
    container["args"] = [*container.get("args", []), "--debug"]
    live["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"})
    said = [str(each) for each in drift(git, live)]
    where = "spec.template.spec.containers"
    assert f"{where}[{name}].image: Git has '{image}', the cluster 'other:1'" in said
    assert "metadata.labels.app.kubernetes.io/managed-by: Git has 'gitune', the cluster nothing" in said
    assert f"{where}[sidecar]: Git has nothing, the cluster {{'name': 'sidecar'}}" in said
    assert any(line.startswith(f"{where}[{name}].args") for line in said)
    assert len(said) == 4


def test_containers_are_told_by_their_names_and_not_by_their_places(pair):
    git, live = pair
    volumes = live["spec"]["template"]["spec"]["volumes"]
    volumes.reverse()
    assert len(volumes) > 1
    assert drift(git, live) == []


@pytest.mark.parametrize(
    ("git", "live", "count"), [("0.5", "500m", 0), ("2048Ki", "2Mi", 0), ("1", "1500m", 1)]
)
@pytest.mark.parametrize("resource", ["cpu", "ephemeral-storage", "example.com/nic"])
def test_one_amount_written_otherwise_is_no_drift(git, live, count, resource):
    ours, theirs = ({"kind": "X", "resources": {"limits": {resource: each}}} for each in (git, live))
    assert len(drift(ours, theirs)) == count
    assert len(drift({"kind": "X", "text": git}, {"text": live})) == 1


def test_what_is_empty_in_git_may_be_absent():
    assert drift({"kind": "X", "spec": {"ingress": []}}, {"spec": {}}) == []
    assert len(drift({"kind": "X", "spec": {"automount": False}}, {"spec": {}})) == 1


def test_weights_that_a_rollout_moves_are_its_own():
    routes = [*GOLDEN.glob("*/httproute-*.yaml"), *GOLDEN.glob("*/virtualservice-*.yaml")]
    assert {read(file)["kind"] for file in routes} == {"HTTPRoute", "VirtualService"}
    for file in routes:
        git = read(file)
        live = copy.deepcopy(git)
        parts = [each for rule in live["spec"].get("rules", []) for each in rule["backendRefs"]]
        parts += [each for rule in live["spec"].get("http", []) for each in rule["route"]]
        assert parts
        for part in parts:
            part["weight"] = 37
        for added in (live["spec"].get("rules"), live["spec"].get("http")):
            if added is not None:  # what a rollout mirrors by stands before the route it copies from
                added.insert(0, {"matches": []})
        assert drift(git, live) == []
        live["metadata"]["labels"].pop("app.kubernetes.io/part-of")
        assert [each.path for each in drift(git, live)] == ["metadata.labels.app.kubernetes.io/part-of"]
