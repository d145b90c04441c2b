"""Pods that act as an account of the cloud, in place of a static key."""

import kubernetes_judge
import pytest
import yaml
from pydantic import ValidationError

from framework.manifests.workload_identity import WorkloadIdentity

PINNED = {"image": f"registry.example.com/server@sha256:{'5' * 64}"}
ROLE = "arn:aws:iam::123456789012:role/models"
ACCOUNT = "models@team.iam.gserviceaccount.com"
CLIENT = "01234567-89ab-cdef-0123-456789abcdef"
USE = {"azure.workload.identity/use": "true"}
CLOUDS = {
    "aws_role_arn": (ROLE, "eks.amazonaws.com/role-arn", {}, [(443, None)]),
    "gcp_service_account": (
        ACCOUNT,
        "iam.gke.io/gcp-service-account",
        {},
        [(80, "169.254.169.254/32"), (988, "169.254.169.252/32")],
    ),
    "azure_client_id": (CLIENT, "azure.workload.identity/client-id", USE, [(443, None)]),
}
each = pytest.mark.parametrize("cloud", CLOUDS)


@pytest.fixture
def rendered(render_with):
    def render(cloud, *, uri="s3://bucket/models/abc", target="kubernetes", **deployment):
        environment = ("production", {"workload_identity": {cloud: CLOUDS[cloud][0]} if cloud else {}})
        texts = render_with(
            deployment=(target, {**PINNED, **deployment}), environment=environment, release={"model_uri": uri}
        )
        items = [yaml.safe_load(text) for name, text in texts.items() if name.endswith("yaml")]
        return {item["kind"]: item for item in items}

    return render


def opened(objects):
    rules = objects["NetworkPolicy"]["spec"]["egress"][1:]
    return [(r["ports"][0]["port"], r["to"][0]["ipBlock"]["cidr"] if "to" in r else None) for r in rules]


@each
def test_account_is_annotated_and_its_credentials_are_reachable(rendered, cloud):
    value, annotation, labels, credentials = CLOUDS[cloud]
    objects, plain = rendered(cloud, store_port=9000), rendered(None, store_port=9000)
    annotations = objects["ServiceAccount"]["metadata"]["annotations"]
    assert annotations.items() - plain["ServiceAccount"]["metadata"]["annotations"].items() == {
        (annotation, value)
    }
    pod = objects["Deployment"]["spec"]["template"]
    assert pod["spec"]["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    assert (
        pod["metadata"]["labels"].items() - plain["Deployment"]["metadata"]["labels"].items()
        == labels.items()
    )
    assert opened(objects) == [(9000, None), *credentials]
    assert "envFrom" not in pod["spec"]["initContainers"][0]  # no static key


def test_nothing_is_opened_twice_or_without_a_remote_store(rendered):
    assert opened(rendered("aws_role_arn")) == [(443, None)]
    assert opened(rendered("aws_role_arn", uri="file://.gitune/models/abc")) == []


def test_labels_reach_the_pods_of_kserve(rendered):
    service = rendered("azure_client_id", target="kserve")["InferenceService"]
    assert service["spec"]["predictor"]["labels"] == USE
    kind = kubernetes_judge.custom_kind(service["apiVersion"], service["kind"])
    assert kind.problems(service) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"aws_role_arn": "models"}, "a role such as"),
        ({"gcp_service_account": "models@example.com"}, "an account such as"),
        ({"azure_client_id": "models"}, "a UUID"),
        ({"aws_role_arn": ROLE, "azure_client_id": CLIENT}, "set one of"),
    ],
)
def test_invalid_account_is_rejected(fields, message):
    with pytest.raises(ValidationError, match=message):
        WorkloadIdentity(**fields)
