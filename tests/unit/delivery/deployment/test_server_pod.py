"""The pod of a model server: model volume, resources, probes and scheduling."""

import pytest

from framework.core.errors import ReleaseError
from framework.delivery.deployment.kubernetes import Kubernetes


def test_model_is_verified_before_the_server_starts(built, pod):
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


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file://.gitune/models/abc", "/srv/.gitune/models"),
        (".gitune/models/abc", "/srv/.gitune/models"),
        ("file:///mnt/store/abc", "/mnt/store"),
    ],
)
def test_local_store_is_mounted_read_only_at_its_path(pod, remote, uri, folder):
    spec = pod(Kubernetes(model_volume_claim="shared"), remote(uri))
    mount = next(m for m in spec["initContainers"][0]["volumeMounts"] if m["name"] == "store")
    assert mount == {"mountPath": folder, "name": "store", "readOnly": True}
    claim = next(v for v in spec["volumes"] if v["name"] == "store")["persistentVolumeClaim"]
    assert claim == {"claimName": "shared", "readOnly": True}


@pytest.mark.parametrize("uri", ["file://abc", "file:///abc", "file:///tmp/abc", "file://../models/abc"])
def test_local_store_without_a_mountable_folder_is_rejected(built, remote, uri):
    with pytest.raises(ReleaseError, match=r"publish\.url="):
        built(None, remote(uri))


@pytest.mark.parametrize(
    ("model", "temporary", "requested"), [("10Gi", "1Gi", "11Gi"), ("1G", "512Mi", "1466Mi")]
)
def test_disk_request_covers_all_scratch_volumes(pod, model, temporary, requested):
    spec = pod(Kubernetes(model_space=model, temporary_space=temporary))
    limits = {v["name"]: v["emptyDir"]["sizeLimit"] for v in spec["volumes"] if "emptyDir" in v}
    assert limits == {"model": model, "tmp": temporary}
    for container in spec["containers"] + spec["initContainers"]:
        assert container["resources"]["requests"]["ephemeral-storage"] == requested


def test_only_the_server_gets_gpus(pod):
    spec = pod(Kubernetes(gpus=2))
    resources = spec["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "2"
    assert "nvidia.com/gpu" not in spec["initContainers"][0]["resources"]["limits"]


def test_startup_probe_allows_startup_seconds(built):
    objects = built(Kubernetes(startup_seconds=900))
    server = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 900
    assert objects["Deployment"]["spec"]["progressDeadlineSeconds"] > 900


def test_image_volume_replaces_the_copy_and_is_verified(built, pod, remote):
    image = f"registry.example.com/models/tiny@sha256:{'b' * 64}"
    spec = pod(Kubernetes(model_image=image), remote())
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
    egress = built(Kubernetes(model_image=image), remote())["NetworkPolicy"]["spec"]["egress"]
    assert len(egress) == 1  # nothing is fetched, so only DNS is open


def test_scheduling_fields_reach_the_pod(pod):
    spec = pod(
        Kubernetes(
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
    assert not {"affinity", "nodeSelector", "priorityClassName", "tolerations"} & set(pod())


@pytest.mark.parametrize(
    ("kind", "values", "tolerates", "spreads"),
    [
        ("on-demand", ["stay"], False, False),
        ("spot", ["cheap"], True, False),
        ("mixed", ["stay", "cheap"], True, True),
    ],
)
def test_capacity_selects_nodes(pod, kind, values, tolerates, spreads):
    capacity = {"kind": kind, "label": "example.com/kind", "on_demand": "stay", "spot": "cheap"}
    spec = pod(Kubernetes(capacity=capacity))
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = required["nodeSelectorTerms"][0]["matchExpressions"]
    assert expression == {"key": "example.com/kind", "operator": "In", "values": values}
    taint = {"effect": "NoSchedule", "key": "example.com/kind", "operator": "Equal", "value": "cheap"}
    assert (taint in spec.get("tolerations", [])) == tolerates
    keys = [constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]]
    assert ("example.com/kind" in keys) == spreads
