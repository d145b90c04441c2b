import json
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from framework.core.errors import ReleaseError
from framework.core.release import Release
from framework.delivery.autoscaling.fixed import Fixed
from framework.delivery.autoscaling.hpa import Hpa
from framework.delivery.deployment import Delivery, Deployment
from framework.delivery.deployment.kubernetes import Kubernetes
from framework.delivery.environment.cluster import Cluster
from framework.delivery.monitoring.none import NoMonitoring
from framework.delivery.monitoring.prometheus import Prometheus
from framework.delivery.rollout.rolling import Rolling
from framework.delivery.secrets.external_secret import ExternalSecret
from framework.delivery.secrets.none import NoSecrets
from framework.delivery.traffic.none import NoTraffic
from framework.manifests.values import Amounts
from framework.serving import Serving

REPOSITORY = Path(__file__).parents[4]
RELEASE = Release.read(REPOSITORY / "tests" / "golden" / "tiny.lock")
DEV = Cluster(name="dev", namespace="gitune-dev", allow_unpinned_image=True)
PRODUCTION = Cluster(name="production", namespace="gitune")
PINNED = f"gitune/server:0.1.0@sha256:{'a' * 64}"


class Answering(Serving):
    """A server of which rendering needs the settings only."""

    def serve(self, model, release):
        raise AssertionError("rendering serves nothing")


def delivery(environment=DEV, serving=None, **parts):
    plain = {
        "rollout": Rolling(),
        "autoscaling": Hpa(),
        "traffic": NoTraffic(),
        "monitoring": NoMonitoring(),
        "secrets": NoSecrets(),
    }
    return Delivery(serving=serving or Answering(), environment=environment, **{**plain, **parts})


def built(target=None, release=RELEASE, serving=None, environment=DEV):
    found = (target or Kubernetes()).objects(release, delivery(environment, serving))
    return {item["kind"]: item for item in found}


def pod(**arguments):
    return built(**arguments)["Deployment"]["spec"]["template"]["spec"]


def remote(uri="s3://bucket/models/abc"):
    return RELEASE.model_copy(update={"model_uri": uri})


def test_option_file_shows_every_field_with_its_default():
    shown = yaml.safe_load((REPOSITORY / "conf" / "deployment" / "kubernetes.yaml").read_text())
    assert set(shown) == set(Kubernetes.model_fields) | {"_target_"}
    assert Deployment.model_validate(shown) == Kubernetes()


@pytest.mark.parametrize("name", ["dev", "staging", "production"])
def test_environments_are_complete_and_only_dev_takes_an_unpinned_image(name):
    shown = yaml.safe_load((REPOSITORY / "conf" / "environment" / f"{name}.yaml").read_text())
    environment = Cluster.model_validate(shown)
    assert set(shown) == set(Cluster.model_fields) | {"_target_"}
    assert environment.name == name
    assert bool(Kubernetes().problems(delivery(environment))) == (name != "dev")


def test_an_unpinned_image_names_the_override_that_pins_it():
    (problem,) = Kubernetes().problems(delivery(PRODUCTION))
    assert problem.overrides == ("deployment.image=gitune/server:0.1.0@sha256:<digest>",)
    assert Kubernetes(image=PINNED).problems(delivery(PRODUCTION)) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"requests": {"cpu": "8", "memory": "8Gi"}}, r"'requests.cpu' \(8\) is above 'limits.cpu' \(4\)"),
        ({"requests": {"cpu": "1", "memory": "17Gi"}}, "'requests.memory'"),
        ({"requests": {"cpu": "2Gi", "memory": "8Gi"}}, "should be CPU cores"),
        ({"requests": {"cpu": "2", "memory": "8GB"}}, "should be bytes"),
        ({"requests": {"cpu": "0m", "memory": "8Gi"}}, "should be above zero"),
        ({"image": "Gitune Server"}, "should be an image"),
        ({"image": "gitune/server@sha256:abc"}, "should be an image"),
        ({"store_secret": "My_Secret"}, "should be an object's name"),
        ({"store_port": 99999}, "less than or equal to 65535"),
        ({"ingress_from": [{}]}, "give labels under"),
        ({"ingress_from": [{"pods": {"a b": "c"}}]}, "should be a label's key"),
        ({"ingress_from": [{"pods": {"app": "x" * 64}}]}, "should be a label's value"),
    ],
)
def test_values_that_only_an_api_server_would_refuse_are_refused_here(fields, message):
    with pytest.raises(ValidationError, match=message):
        Kubernetes(**fields)


def test_a_number_on_the_command_line_is_a_quantity():
    assert Kubernetes(requests={"cpu": 1, "memory": "8Gi"}).requests.cpu == "1"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_replicas": 3, "max_replicas": 2}, r"'min_replicas' \(3\) is above 'max_replicas' \(2\)"),
        ({"namespace": "kube-system"}, "should not start with 'kube-'"),
        ({"namespace": "Upper"}, "match pattern"),
    ],
)
def test_environments_that_no_cluster_could_hold_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Cluster(**{"name": "dev", "namespace": "x", **fields})


def test_an_environment_may_have_sizes_of_its_own():
    small = DEV.model_copy(update={"limits": Amounts(cpu="2", memory="8Gi")})
    spec = built(environment=small)["Deployment"]["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "8Gi"}
    assert json.loads(built(environment=small)["ConfigMap"]["data"]["serving.json"])["threads"] == 2


def test_sizes_of_an_environment_that_cross_the_targets_are_refused():
    small = DEV.model_copy(update={"limits": Amounts(cpu="2", memory="4Gi")})
    (problem,) = Kubernetes().problems(delivery(small))
    assert "memory" in problem.reason
    assert "environment.requests" in problem.advice


@pytest.mark.parametrize("count", [1, 11])
def test_a_fixed_number_of_pods_lies_within_the_environments(count):
    environment = DEV.model_copy(update={"min_replicas": 2, "max_replicas": 10})
    (problem,) = Kubernetes().problems(delivery(environment, autoscaling=Fixed(count=count)))
    assert problem.overrides == ("autoscaling.count=2",)


def test_the_autoscaler_owns_the_replicas():
    objects = built(environment=Cluster(name="dev", namespace="x", min_replicas=2, max_replicas=7))
    assert "replicas" not in objects["Deployment"]["spec"]
    scaler = objects["HorizontalPodAutoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 7)


def test_the_model_is_fetched_and_checked_before_the_server_starts():
    (fetch,), (server,) = pod()["initContainers"], pod()["containers"]
    assert fetch["command"] == server["command"] == ["python", "-m", "framework.server"]
    assert fetch["args"][-1] == "--fetch-only"
    assert fetch["args"][:-1] == [*server["args"][:2], *server["args"][-2:]]
    options = dict(zip(server["args"][::2], server["args"][1::2], strict=True))
    mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    data = built()["ConfigMap"]["data"]
    assert options["--release"].removeprefix(mounts["config"] + "/") in data
    assert options["--config"].removeprefix(mounts["config"] + "/") in data
    assert options["--model"].startswith(mounts["model"] + "/")


def test_the_server_reads_the_release_and_settings_that_bind_every_address():
    data = built(serving=Answering(port=9000, host="127.0.0.1"))["ConfigMap"]["data"]
    assert Release.parse(data["release.lock"], "lock") == RELEASE
    settings = json.loads(data["serving.json"])
    assert settings["host"] == "0.0.0.0"
    assert settings["port"] == 9000
    assert pod(serving=Answering(port=9000))["containers"][0]["ports"][0]["containerPort"] == 9000


@pytest.mark.parametrize(("threads", "cpu", "expected"), [(0, "4", 4), (0, "2500m", 2), (3, "4", 3)])
def test_threads_follow_the_cpu_limit_unless_they_are_given(threads, cpu, expected):
    target = Kubernetes(limits={"cpu": cpu, "memory": "16Gi"})
    data = built(target, serving=Answering(threads=threads))["ConfigMap"]["data"]
    assert json.loads(data["serving.json"])["threads"] == expected


def test_another_model_or_setting_rolls_the_pods_and_the_selector_stays():
    def template(**arguments):
        return built(**arguments)["Deployment"]["spec"]["template"]["metadata"]["annotations"]

    other = RELEASE.model_copy(update={"digest": f"sha256:{'9' * 64}"})
    assert template() == template()
    assert template() != template(serving=Answering(max_new_tokens=7))
    assert template() != template(release=other)
    selectors = [built(release=r)["Deployment"]["spec"]["selector"] for r in (RELEASE, other)]
    assert selectors[0] == selectors[1]


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file://.gitune/models/abc", "/srv/.gitune/models"),
        (".gitune/models/abc", "/srv/.gitune/models"),
        ("file:///mnt/store/abc", "/mnt/store"),
    ],
)
def test_a_local_store_is_a_read_only_volume_where_the_release_looks_for_it(uri, folder):
    spec = pod(release=remote(uri), target=Kubernetes(model_volume_claim="shared"))
    mount = next(m for m in spec["initContainers"][0]["volumeMounts"] if m["name"] == "store")
    assert mount == {"mountPath": folder, "name": "store", "readOnly": True}
    claim = next(v for v in spec["volumes"] if v["name"] == "store")["persistentVolumeClaim"]
    assert claim == {"claimName": "shared", "readOnly": True}


@pytest.mark.parametrize("uri", ["file://abc", "file:///abc", "file:///tmp/abc", "file://../models/abc"])
def test_a_local_store_that_no_volume_can_be_mounted_for_is_refused(uri):
    with pytest.raises(ReleaseError, match=r"publish\.url="):
        built(release=remote(uri))


def test_only_a_remote_store_opens_the_way_out_and_gets_the_secret():
    local = built(Kubernetes(store_secret="keys"))
    away = built(Kubernetes(store_secret="keys", store_port=9000), release=remote())
    assert len(local["NetworkPolicy"]["spec"]["egress"]) == 1
    assert away["NetworkPolicy"]["spec"]["egress"][1:] == [{"ports": [{"port": 9000, "protocol": "TCP"}]}]
    spec = away["Deployment"]["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "envFrom" not in spec["containers"][0]
    assert "store" not in {volume["name"] for volume in spec["volumes"]}
    assert "envFrom" not in local["Deployment"]["spec"]["template"]["spec"]["initContainers"][0]


def test_nobody_may_connect_where_nobody_is_named():
    policy = built(Kubernetes(ingress_from=()))["NetworkPolicy"]["spec"]
    assert policy["ingress"] == []
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_a_peer_with_both_kinds_of_labels_must_match_both():
    both = {"namespaces": {"team": "web"}, "pods": {"app": "gateway"}}
    policy = built(Kubernetes(ingress_from=[both]))["NetworkPolicy"]["spec"]
    assert policy["ingress"][0]["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"team": "web"}},
            "podSelector": {"matchLabels": {"app": "gateway"}},
        }
    ]


@pytest.mark.parametrize(
    ("model", "temporary", "asked"), [("10Gi", "1Gi", "11Gi"), ("1G", "512Mi", "1466Mi")]
)
def test_a_pod_asks_for_all_the_disk_that_it_may_fill(model, temporary, asked):
    spec = pod(target=Kubernetes(model_space=model, temporary_space=temporary))
    limits = {v["name"]: v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if "emptyDir" in v}
    assert limits == {"model": model, "tmp": temporary}
    for each in spec["containers"] + spec["initContainers"]:
        assert each["resources"]["requests"]["ephemeral-storage"] == asked


def test_gpus_go_to_the_server_alone():
    spec = pod(target=Kubernetes(gpus=2))
    resources = spec["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in spec["initContainers"][0]["resources"]["limits"]


def test_startup_may_take_as_long_as_it_was_given():
    objects = built(Kubernetes(startup_seconds=900))
    server = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 900
    assert objects["Deployment"]["spec"]["progressDeadlineSeconds"] > 900


def test_a_release_outside_git_has_no_commit_annotation():
    plain = built(release=RELEASE.model_copy(update={"commit": None}))
    assert "gitune.dev/commit" not in plain["Service"]["metadata"]["annotations"]


def test_an_image_volume_takes_the_place_of_the_copy_and_is_checked_too():
    image = f"registry.example.com/models/tiny@sha256:{'b' * 64}"
    spec = pod(target=Kubernetes(model_image=image), release=remote())
    (check,), (server,) = spec["initContainers"], spec["containers"]
    assert "--check-only" in check["args"]
    assert "--fetch-only" not in check["args"]
    assert "envFrom" not in check
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["model"]["image"] == {"pullPolicy": "IfNotPresent", "reference": image}
    for container in (check, server):
        mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "model")
        assert mount == {"mountPath": "/models/model", "name": "model", "readOnly": True}
        assert container["args"][container["args"].index("--model") + 1] == mount["mountPath"]
    egress = built(Kubernetes(model_image=image), release=remote())["NetworkPolicy"]["spec"]["egress"]
    assert len(egress) == 1  # nothing is fetched, so only DNS is open


def test_a_model_image_that_is_not_pinned_is_refused_as_any_other_image():
    target = Kubernetes(image=PINNED, model_image="registry.example.com/models/tiny:1")
    (problem,) = target.problems(delivery(PRODUCTION))
    assert problem.key == "deployment.model_image"


def test_the_api_key_reaches_the_server_alone_and_is_nowhere_held():
    target = Kubernetes(api_key_secret={"name": "tiny-api"}, store_secret="store")
    spec = pod(target=target, release=remote())
    reference = {"secretKeyRef": {"key": "api-key", "name": "tiny-api"}}
    assert {"name": "GITUNE_API_KEY", "valueFrom": reference} in spec["containers"][0]["env"]
    assert all(item["name"] != "GITUNE_API_KEY" for item in spec["initContainers"][0]["env"])
    assert target.wanted_secrets(delivery()) == {"store": "Opaque", "tiny-api": "Opaque"}


def test_pods_go_where_they_are_sent():
    spec = pod(
        target=Kubernetes(
            gpus=1,
            node_selector={"nvidia.com/gpu.product": "NVIDIA-L4"},
            tolerations=[{"key": "team", "value": "models"}],
            priority_class="serving",
        )
    )
    assert spec["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert spec["priorityClassName"] == "serving"
    assert spec["tolerations"] == [
        {"effect": "NoSchedule", "key": "team", "operator": "Equal", "value": "models"},
        {"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"},
    ]
    plain = pod()
    assert not {"affinity", "nodeSelector", "priorityClassName", "tolerations"} & set(plain)


@pytest.mark.parametrize(
    ("kind", "values", "tolerates", "spreads"),
    [
        ("on-demand", ["stay"], False, False),
        ("spot", ["cheap"], True, False),
        ("mixed", ["stay", "cheap"], True, True),
    ],
)
def test_capacity_says_which_nodes_serve(kind, values, tolerates, spreads):
    capacity = {"kind": kind, "label": "example.com/kind", "on_demand": "stay", "spot": "cheap"}
    spec = pod(target=Kubernetes(capacity=capacity))
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = required["nodeSelectorTerms"][0]["matchExpressions"]
    assert expression == {"key": "example.com/kind", "operator": "In", "values": values}
    taint = {"effect": "NoSchedule", "key": "example.com/kind", "operator": "Equal", "value": "cheap"}
    assert (taint in spec.get("tolerations", [])) == tolerates
    keys = [entry["topologyKey"] for entry in spec["topologySpreadConstraints"]]
    assert ("example.com/kind" in keys) == spreads


def test_every_secret_that_is_named_is_brought_with_its_type():
    target = Kubernetes(api_key_secret={"name": "api"}, store_secret="store", image_pull_secret="registry")
    alerts = Prometheus(alert_secret="alerts", dashboards=False)
    found = target.objects(remote(), delivery(secrets=ExternalSecret(store="vault"), monitoring=alerts))
    brought = [item["spec"]["target"] for item in found if item["kind"] == "ExternalSecret"]
    assert {each["name"]: each["template"]["type"] for each in brought} == {
        "alerts": "Opaque",
        "api": "Opaque",
        "registry": "kubernetes.io/dockerconfigjson",
        "store": "Opaque",
    }
    (problem,) = target.problems(delivery(secrets=ExternalSecret()))
    assert problem.key == "secrets.store"
