"""`run status` against the cluster of KUBECONFIG; skipped without one."""

import os
from pathlib import Path

import pytest
import yaml
from live_changes import SET, UNSET, read

from framework.core.errors import ClusterError
from framework.gitops.drift import drift
from framework.gitops.live_objects import Cluster
from framework.gitops.managed_fields import GITOPS, KINDS, WORKLOADS

GOLDEN = Path(__file__).parents[1] / "golden" / "environments"
APPLY = "application/apply-patch+yaml"
ALL = {**KINDS, **WORKLOADS}


@pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster for a dry run")
@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("*/*")), ids=lambda folder: "/".join(folder.parts[-2:]))
def test_real_api_server_accepts_the_manifests(folder):
    """A server-side dry run in the namespace ``default`` rejects unknown fields; defaults are no drift."""
    api = Cluster.chosen("").api
    items = [yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")]
    for item in (item for item in items if "apiVersion" in item):
        item["metadata"]["namespace"] = "default"
        query = {
            "dryRun": "All",
            "fieldManager": GITOPS[0],
            "fieldValidation": "Strict",
            "force": "true",
        }
        answer = api.connection.request("PATCH", api.path(item), body=item, query=query, kind=APPLY)
        assert drift(item, answer) == []


@pytest.fixture(scope="module")
def namespace():
    """A namespace of a real cluster, for the tests of this module."""
    call, name = Cluster.chosen("").api.connection.request, f"gitune-test-{os.getpid()}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    call("POST", "/api/v1/namespaces", body=body)
    yield name
    call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster to change")
@pytest.mark.parametrize("row", UNSET + SET, ids=lambda row: row[0])
def test_real_api_server_records_who_changed_a_field(row, namespace):
    """Each change is made, without pods: the Deployment has no replicas."""
    _, file, manager, change, path = row
    cluster, item = Cluster.chosen(""), read(file)
    item["metadata"]["namespace"] = namespace
    if item["kind"] == "Deployment":
        item["spec"]["replicas"] = 0
    try:
        place = cluster.api.path(item)
    except ClusterError:
        pytest.skip(f"the cluster does not know {item['kind']}")
    call = cluster.api.connection.request
    call("PATCH", place, body=item, query={"fieldManager": GITOPS[0], "force": "true"}, kind=APPLY)
    live = cluster.live(item)
    assert drift(item, live) == []
    change(live)
    call("PUT", place, body=live, query={"fieldManager": manager})
    unset = {"spec.replicas"} if item["kind"] == "Deployment" else set()
    assert path in {each.path for each in drift(item, cluster.live(item))} | unset
    cluster.api.delete(item)
