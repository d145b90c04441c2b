"""The objects around a server's pods, and what a cluster target refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from framework.core.errors import ReleaseError
from framework.delivery.autoscaling.fixed import Fixed
from framework.delivery.deployment.kserve import KServe
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.environment.cluster import Cluster
from framework.delivery.monitoring.prometheus import Prometheus
from framework.delivery.secrets.external_secret import ExternalSecret
from framework.serving.http import HttpServing

PINNED = f"gitune/server:0.1.0@sha256:{'a' * 64}"
SMALL = {"cpu": "2", "memory": "8Gi"}


@pytest.mark.parametrize("name", ["dev", "staging", "production"])
def test_environment_option_shows_every_field(name):
    path = Path(__file__).parents[4] / "conf" / "environment" / f"{name}.yaml"
    fields = yaml.safe_load(path.read_text())
    assert set(fields) == set(Cluster.model_fields) | {"_target_"}
    assert Cluster.model_validate(fields).name == name


@pytest.mark.parametrize("name", ["dev", "staging", "production"])
def test_only_dev_allows_an_unpinned_image(deliver, name):
    assert bool(Kubernetes().problems(deliver(name))) == (name != "dev")


def test_unpinned_image_names_the_override_that_pins_it(deliver):
    (problem,) = Kubernetes().problems(deliver("production"))
    assert "deployment.image=gitune/server:0.1.0@sha256:" in str(problem)
    assert Kubernetes(image=PINNED).problems(deliver("production")) == []


@pytest.mark.parametrize("accepted", ["gitune/server", "gitune/", PINNED.replace(":0.1.0", "")])
def test_images_are_those_that_the_environment_accepts(deliver, environment, accepted):
    target = Kubernetes(image=PINNED.replace(":0.1.0", ""))
    assert target.problems(deliver(environment(images=[accepted]))) == []
    for other in ("gitune/server-other", "gitune.example.com/", "server"):
        (problem,) = target.problems(deliver(environment(images=[other])))
        assert problem.key == "deployment.image"


def test_target_whose_pods_check_nothing_is_refused_with_signers(built, environment, pod):
    class Unchecked(Kubernetes):
        def workload(self, release, delivery):
            workload = super().workload(release, delivery)
            return replace(workload, pod={**workload.pod, "initContainers": []})

    key = f"-----BEGIN PUBLIC KEY-----\n{'A' * 64}\n-----END PUBLIC KEY-----"
    signed = environment(signers={"keys": [key]})
    assert "--signers" in pod(environment=signed)["initContainers"][0]["args"]
    with pytest.raises(ReleaseError, match=r"environment\.signers"):
        built(Unchecked(), environment=signed)


def test_unpinned_model_image_names_its_override(deliver):
    target = Kubernetes(image=PINNED, model_image="registry.example.com/models/tiny:1")
    (problem,) = target.problems(deliver("production"))
    assert "deployment.model_image=registry.example.com/models/tiny:1@sha256:" in str(problem)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, r"'min_replicas' \(3\) is above 'max_replicas' \(2\)"),
        ({"namespace": "kube-system"}, "should not start with 'kube-'"),
        ({"namespace": "Upper"}, "match pattern"),
    ],
)
def test_invalid_environment_is_rejected(fields, message):
    with pytest.raises(ValidationError, match=message):
        Cluster(**{"name": "dev", "namespace": "x", **fields})


def test_environment_can_set_resources(built, environment):
    objects = built(environment=environment(limits=SMALL))
    server = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert server["resources"]["limits"] == SMALL
    assert json.loads(objects["ConfigMap"]["data"]["serving.json"])["threads"] == 2


def test_environment_limits_below_requests_are_refused(deliver, environment):
    small = environment(limits={"cpu": "2", "memory": "4Gi"})
    (problem,) = Kubernetes().problems(deliver(small))
    assert "memory" in str(problem)
    assert "environment.requests" in str(problem)


@pytest.mark.parametrize("count", [1, 11])
def test_fixed_number_of_pods_outside_bounds_is_refused(deliver, environment, count):
    bounds = environment(min_replicas=2, max_replicas=10)
    (problem,) = Kubernetes().problems(deliver(bounds, autoscaling=Fixed(count=count)))
    assert "autoscaling.count=2" in str(problem)


def test_autoscaler_owns_the_replicas(built, environment):
    objects = built(environment=environment(min_replicas=2, max_replicas=7))
    assert "replicas" not in objects["Deployment"]["spec"]
    scaler = objects["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 7)


def test_only_a_remote_store_opens_egress_and_gets_the_secret(built, remote):
    local = built(Kubernetes(store_secret="keys"))
    away = built(Kubernetes(store_secret="keys", store_port=9000), remote())
    assert len(local["NetworkPolicy"]["spec"]["egress"]) == 1
    assert away["NetworkPolicy"]["spec"]["egress"][1:] == [{"ports": [{"port": 9000, "protocol": "TCP"}]}]
    spec = away["Deployment"]["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "envFrom" not in spec["containers"][0]
    assert "store" not in {volume["name"] for volume in spec["volumes"]}
    assert "envFrom" not in local["Deployment"]["spec"]["template"]["spec"]["initContainers"][0]


@pytest.mark.parametrize("target", [Kubernetes, KServe])
def test_servers_may_connect_to_their_collector_and_log(built, target):
    options = {"traces": {"endpoint": "http://collector.example.com:4318"}}
    options["request_log"] = {"folder": "s3://bucket/log"}
    serving = HttpServing.model_validate(options)
    ports = [
        rule["ports"][0]["port"]
        for rule in built(target(store_port=9000), serving=serving)["NetworkPolicy"]["spec"]["egress"][1:]
    ]
    assert ports == [4318, 9000]
    folder = HttpServing.model_validate({"request_log": {"folder": "/var/log/gitune"}})
    assert len(built(target(), serving=folder)["NetworkPolicy"]["spec"]["egress"]) == 1


def test_cilium_opens_the_collector_by_name(built, environment):
    serving = HttpServing.model_validate({"traces": {"endpoint": "https://collector.example.com"}})
    objects = built(serving=serving, environment=environment(network_policies="cilium"))
    rules = objects["CiliumNetworkPolicy"]["spec"]["egress"]
    assert rules[1]["toFQDNs"] == [{"matchName": "collector.example.com"}]
    assert rules[1]["toPorts"][0]["ports"] == [{"port": "443", "protocol": "TCP"}]


def test_empty_ingress_from_denies_all(built):
    policy = built(Kubernetes(ingress_from=()))["NetworkPolicy"]["spec"]
    assert policy["ingress"] == []
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_peer_with_both_kinds_of_labels_must_match_both(built):
    both = {"namespaces": {"team": "web"}, "pods": {"app": "gateway"}}
    policy = built(Kubernetes(ingress_from=[both]))["NetworkPolicy"]["spec"]
    assert policy["ingress"][0]["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"team": "web"}},
            "podSelector": {"matchLabels": {"app": "gateway"}},
        }
    ]


def test_release_outside_git_has_no_commit_annotation(built, release):
    plain = built(None, release(commit=None))
    assert "gitune.dev/commit" not in plain["Service"]["metadata"]["annotations"]


def test_rollback_time_depends_on_rollout_and_environment(deliver):
    target = Kubernetes(startup_seconds=50)
    assert target.rollback_seconds(deliver("production")) == 100
    assert target.rollback_seconds(deliver("production", rollout="blue-green")) == 10
    assert target.rollback_seconds(deliver("dev", rollout="blue-green")) == 100


def test_every_referenced_secret_is_created_with_its_type(deliver, remote):
    target = Kubernetes(api_key_secret={"name": "api"}, store_secret="store", image_pull_secret="registry")
    alerts = Prometheus(alert_secret="alerts", dashboards=False)
    delivery = deliver(secrets=ExternalSecret(store="vault"), monitoring=alerts)
    created = [item["spec"]["target"] for item in target.shared_files(remote(), delivery).values()]
    assert {secret["name"]: secret["template"]["type"] for secret in created} == {
        "alerts": "Opaque",
        "api": "Opaque",
        "registry": "kubernetes.io/dockerconfigjson",
        "store": "Opaque",
    }
    (problem,) = target.problems(deliver(secrets=ExternalSecret()))
    assert "secrets.store=" in str(problem)
