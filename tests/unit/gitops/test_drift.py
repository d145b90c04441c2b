"""Which differences are drift, and which fields an API server or a controller owns."""

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
    """A rendered Deployment, and the same as an API server returns it."""
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


def test_server_defaults_are_not_drift(pair):
    assert drift(*pair) == []


def test_every_field_that_differs_is_named(pair):
    git, live = pair
    container = live["spec"]["template"]["spec"]["containers"][0]
    name, image = container["name"], container["image"]
    container["image"] = "other:1"
    container["args"] = [*container.get("args", []), "--debug"]
    live["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
    live["spec"]["template"]["spec"]["containers"].append({"name": "sidecar"})
    lines = [str(each) for each in drift(git, live)]
    where = "spec.template.spec.containers"
    assert f"{where}[{name}].image: Git has '{image}', the cluster 'other:1'" in lines
    assert "metadata.labels.app.kubernetes.io/managed-by: Git has 'gitune', the cluster nothing" in lines
    assert f"{where}[sidecar]: Git has nothing, the cluster {{'name': 'sidecar'}}" in lines
    assert any(line.startswith(f"{where}[{name}].args") for line in lines)
    assert len(lines) == 4


def test_containers_are_matched_by_name(pair):
    git, live = pair
    volumes = live["spec"]["template"]["spec"]["volumes"]
    volumes.reverse()
    assert len(volumes) > 1
    assert drift(git, live) == []


@pytest.mark.parametrize(
    ("git", "live", "count"), [("0.5", "500m", 0), ("2048Ki", "2Mi", 0), ("1", "1500m", 1)]
)
@pytest.mark.parametrize("resource", ["cpu", "ephemeral-storage", "example.com/nic"])
def test_equal_quantities_are_not_drift(git, live, count, resource):
    ours, theirs = ({"kind": "X", "resources": {"limits": {resource: each}}} for each in (git, live))
    assert len(drift(ours, theirs)) == count
    assert len(drift({"kind": "X", "text": git}, {"text": live})) == 1


def test_empty_fields_may_be_absent_in_the_cluster():
    assert drift({"kind": "X", "spec": {"ingress": []}}, {"spec": {}}) == []
    assert len(drift({"kind": "X", "spec": {"automount": False}}, {"spec": {}})) == 1


def test_route_weights_of_a_rollout_are_not_drift():
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
