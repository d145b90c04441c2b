"""Pods fetch the model from named hosts where the cluster runs Cilium."""

import pytest
import yaml
from pydantic import ValidationError

from framework.core.errors import ReleaseError
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.deployment.store_hosts import store_hosts

PINNED = {"image": f"registry.example.com/server@sha256:{'5' * 64}"}
MOUNTED = {"model_image": f"registry.example.com/model@sha256:{'6' * 64}"}
ROLE = {"aws_role_arn": "arn:aws:iam::123456789012:role/models"}
ACCOUNT = {"gcp_service_account": "models@team.iam.gserviceaccount.com"}
DNS = {
    "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "kube-system"}}],
    "toPorts": [{"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*"}]}}],
}


def tcp(port):
    return [{"ports": [{"port": str(port), "protocol": "TCP"}]}]


@pytest.fixture
def policies(render_with):
    def render(uri, policies="cilium", identity=None, **deployment):
        environment = {"network_policies": policies, "workload_identity": identity or {}}
        texts = render_with(
            deployment=("kubernetes", {**PINNED, **deployment}),
            environment=("production", environment),
            release={"model_uri": uri},
        )
        items = [yaml.safe_load(text) for name, text in texts.items() if name.endswith("yaml")]
        return {item["kind"]: item for item in items if item["kind"].endswith("NetworkPolicy")}

    return render


def test_only_the_hosts_of_the_store_and_of_its_credentials_are_open(policies):
    found = policies("s3://models/abc", identity=ROLE)
    plain, named = found["NetworkPolicy"], found["CiliumNetworkPolicy"]
    # A second rule for DNS, without Cilium's proxy, would take the proxy out, and no name would be known.
    assert plain["spec"]["egress"] == []
    assert plain["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert named["apiVersion"] == "cilium.io/v2"
    assert named["spec"]["endpointSelector"] == plain["spec"]["podSelector"]
    bucket = [{"matchName": "models.s3.amazonaws.com"}, {"matchPattern": "models.s3.*.amazonaws.com"}]
    credentials = [{"matchName": "sts.amazonaws.com"}, {"matchPattern": "sts.*.amazonaws.com"}]
    assert named["spec"]["egress"] == [
        DNS,
        {"toFQDNs": bucket, "toPorts": tcp(443)},
        {"toFQDNs": credentials, "toPorts": tcp(443)},
    ]


def test_addresses_are_no_names(policies):
    hosts = ["10.0.0.5", "x.example.com", "fd00::1"]
    named = policies("gs://models/abc", identity=ACCOUNT, store_port=8443, store_hosts=hosts)
    assert named["CiliumNetworkPolicy"]["spec"]["egress"][1:] == [
        {"toFQDNs": [{"matchName": "x.example.com"}], "toPorts": tcp(8443)},
        {"toCIDR": ["10.0.0.5/32", "fd00::1/128"], "toPorts": tcp(8443)},
        {"toCIDR": ["169.254.169.254/32"], "toPorts": tcp(80)},
        {"toCIDR": ["169.254.169.252/32"], "toPorts": tcp(988)},
    ]


@pytest.mark.parametrize(("uri", "fields"), [("file://.gitune/models/abc", {}), ("s3://models/abc", MOUNTED)])
def test_mounted_model_opens_nothing(policies, uri, fields):
    found = policies(uri, **fields)
    assert [*found] == ["NetworkPolicy"]
    assert [rule["ports"][0]["port"] for rule in found["NetworkPolicy"]["spec"]["egress"]] == [53]


def test_other_plugins_open_the_port_at_any_address(policies):
    found = policies("s3://models/abc", policies="kubernetes", identity=ROLE, store_hosts=["x.example.com"])
    assert [*found] == ["NetworkPolicy"]
    assert found["NetworkPolicy"]["spec"]["egress"][1:] == [{"ports": [{"port": 443, "protocol": "TCP"}]}]


def test_dotted_bucket_is_reached_by_path():
    assert store_hosts("s3://models.example.com/abc") == ("s3.amazonaws.com", "s3.*.amazonaws.com")


@pytest.mark.parametrize(
    ("uri", "fields", "key"),
    [
        ("abfs://models/abc", {}, "deployment.store_hosts"),
        ("http://minio.storage.svc/abc", {}, "environment.network_policies"),
        (
            "s3://models/abc",
            {"store_hosts": ["minio.x.svc.cluster.local"]},
            "environment.network_policies",
        ),
    ],
)
def test_store_that_no_rule_reaches_is_refused(policies, uri, fields, key):
    with pytest.raises(ReleaseError) as caught:
        policies(uri, **fields)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert "environment.network_policies=kubernetes" in problem.overrides
    policies(uri, policies="kubernetes", **fields)


def test_plan_refuses_it_before_anything_is_built(fixes, problems):
    words = ("+recipe=tiny", "environment.network_policies=cilium")
    assert problems(*words, "publish.url=s3://bucket") == ()
    (problem,) = fixes(*words, "publish.url=abfs://models")
    assert problem.key == "deployment.store_hosts"


@pytest.mark.parametrize("host", ["*", "*.*", "UPPER.example.com", "https://example.com", "example", ""])
def test_host_is_a_name_or_an_address(host):
    with pytest.raises(ValidationError, match="should be a host"):
        Kubernetes(store_hosts=[host])
