"""Which differences are drift, and how an API server's record of a field's owners is read."""

from pathlib import Path

import pytest
import yaml
from api_server import applied, changed

from framework.gitops.drift import drift
from framework.gitops.field_owners import Owners

GOLDEN = Path(__file__).parents[2] / "golden" / "environments" / "production"


def read(name):
    return yaml.safe_load((GOLDEN / name).read_text())


RECORDED = [{"manager": "argocd-controller", "operation": "Apply", "fieldsV1": {"f:spec": {"f:x": {}}}}]


def sent(body):
    """Return an object's body with the record of who wrote which field."""
    return {"metadata": {"managedFields": RECORDED}, **body}


@pytest.fixture
def pair():
    """A rendered Deployment, and the same as an API server returns it."""
    git = read("tiny/deployment-tiny.yaml")
    live = applied(git)
    live["status"] = {"replicas": 2}

    def scale(item):
        item["spec"]["replicas"] = 7

    return git, changed(live, "kube-controller-manager", scale, "scale")


def test_server_defaults_are_not_drift(pair):
    assert drift(*pair) == []


def test_controllers_that_the_environment_knows_may_add_fields(pair):
    git, live = pair

    def add(item):
        template = item["spec"]["template"]
        template["metadata"]["annotations"]["reloader.stakater.com/last"] = "x"
        template["spec"]["containers"][0]["env"].append({"name": "STAKATER", "value": "x"})
        template["spec"]["hostNetwork"] = True

    changed(live, "Reloader", add)
    found = {each.path for each in drift(git, live)}
    assert len(found) == 3
    paths = [".spec.template.metadata.annotations", ".spec.template.spec.containers[].env[]"]
    (rest,) = drift(git, live, {"Reloader": paths})
    assert (rest.path, rest.managers) == ("spec.template.spec.hostNetwork", ("Reloader",))
    assert {each.path for each in drift(git, live, {"other": paths})} == found
    # What Git sets is still reported, since Argo CD would set it back.
    changed(live, "Reloader", lambda item: item["spec"]["template"]["metadata"]["annotations"].clear())
    assert any("gitune.dev/digest" in each.path for each in drift(git, live, {"Reloader": paths}))


def test_every_field_that_differs_is_named(pair):
    git, live = pair
    (container,) = git["spec"]["template"]["spec"]["containers"]
    name, image = container["name"], container["image"]

    def edit(item):
        containers = item["spec"]["template"]["spec"]["containers"]
        containers[0]["image"] = "other:1"
        containers[0]["args"].append("--debug")
        item["metadata"]["labels"].pop("app.kubernetes.io/managed-by")
        containers.append({"name": "sidecar"})

    changed(live, "kubectl-edit", edit)
    lines = [str(each) for each in drift(git, live)]
    where = "spec.template.spec.containers"
    assert f"{where}[{name}].image: Git has '{image}', the cluster 'other:1', set by kubectl-edit" in lines
    assert "metadata.labels.app.kubernetes.io/managed-by: Git has 'gitune', the cluster nothing" in lines
    assert (
        f"{where}[sidecar]: Git has nothing, the cluster {{'name': 'sidecar'}}, set by kubectl-edit" in lines
    )
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
    assert len(drift(ours, sent(theirs))) == count
    assert len(drift({"kind": "X", "text": git}, sent({"text": live}))) == 1


def test_empty_fields_may_be_absent_in_the_cluster():
    assert drift({"kind": "X", "spec": {"ingress": []}}, sent({"spec": {}})) == []
    assert len(drift({"kind": "X", "spec": {"automount": False}}, sent({"spec": {}}))) == 1


def test_object_without_a_record_of_its_writers_is_drift(pair):
    git, live = pair
    del live["metadata"]["managedFields"]
    assert [each.path for each in drift(git, live)] == ["metadata.managedFields"]


def test_field_that_git_no_longer_sets_is_drift_until_it_is_synced(pair):
    git, live = pair
    del git["spec"]["template"]["spec"]["containers"][0]["lifecycle"]
    (difference,) = drift(git, live)
    assert difference.path.startswith("spec.template.spec.containers[server].lifecycle")
    assert difference.managers == ("argocd-controller",)


def test_owners_are_read_as_an_api_server_writes_them():
    """An answer of a cluster to server-side apply and to `kubectl edit`."""
    live = {
        "metadata": {
            "managedFields": [
                {
                    "manager": "argocd-controller",
                    "operation": "Apply",
                    "apiVersion": "apps/v1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"server"}': {
                                    ".": {},
                                    "f:name": {},
                                    "f:ports": {
                                        'k:{"containerPort":8000,"protocol":"TCP"}': {".": {}, "f:name": {}}
                                    },
                                }
                            },
                            "f:groups": {"i:1": {"f:x": {}}},
                        }
                    },
                },
                {
                    "manager": "kubectl-edit",
                    "operation": "Update",
                    "apiVersion": "apps/v1",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {
                        "f:metadata": {"f:finalizers": {".": {}, 'v:"x/y"': {}}},
                        "f:spec": {"f:containers": {'k:{"name":"server"}': {"f:args": {}}}},
                    },
                },
                {
                    "manager": "kube-controller-manager",
                    "operation": "Update",
                    "subresource": "status",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {"f:status": {"f:replicas": {}}},
                },
            ]
        }
    }
    owners = Owners.of(live)
    container = owners.child("spec").child("containers").item({"name": "server"}, 0)
    assert container.names == ["argocd-controller", "kubectl-edit"]
    assert [manager.name for manager in container.of_item] == ["argocd-controller"]
    args = container.child("args")
    assert (args.names, args.item("--debug", 0).names) == (["kubectl-edit"], ["kubectl-edit"])
    port = container.child("ports").item({"containerPort": 8000, "protocol": "TCP", "name": "x"}, 0)
    assert port.child("name").names == ["argocd-controller"]
    assert container.child("ports").item({"containerPort": 1, "protocol": "TCP"}, 1).names == []
    groups = owners.child("spec").child("groups")
    assert [groups.item({}, index).names for index in (0, 1)] == [[], ["argocd-controller"]]
    finalizers = owners.child("metadata").child("finalizers")
    assert [finalizers.item(name, 0).names for name in ("x/y", "z")] == [["kubectl-edit"], []]
    assert owners.child("spec").child("template").names == []
