"""The files rendered for a fixed release, recorded in ``environments/`` beside this file.

``GITUNE_UPDATE_GOLDEN=1 pytest tests/golden`` (``just golden``) updates them; review the diff.
"""

import os
from decimal import Decimal
from pathlib import Path

import kubernetes_judge
import kubernetes_validate
import pytest
import yaml

from framework.core.release import Release
from framework.manifests.values import amount
from framework.render import changes, diff_text, write

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
GOLDEN = HERE / "environments"
PINNED = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
SERVER = ("kubernetes", {"image": PINNED})
REACHED = ("production", {"domain": "models.example.com"})
OTHERS = {"fetch_image": PINNED, "image": f"registry.example.com/others/server@sha256:{'6' * 64}"}
MOUNTED = {"model_image": f"registry.example.com/models/tiny@sha256:{'7' * 64}"}
PLACED = {
    "api_key_secret": {"name": "api-keys", "key": "key"},
    "capacity": {"kind": "mixed"},
    "node_selector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
    "priority_class": "serving",
    "tolerations": [{"key": "team", "value": "models"}],
}
CLASSIFIER = {"task": "sequence-classification"}
CASES = {
    ("dev", "tiny"): {"deployment": "kubernetes"},
    ("staging", "tiny"): {},
    ("production", "tiny"): {},
    ("production", "remote"): {
        "deployment": (
            "kubernetes",
            {
                "image": PINNED,
                "image_pull_secret": "registry",
                "requests": {"cpu": "500m", "memory": "2Gi"},
                "limits": {"cpu": "8", "memory": "32Gi"},
                "gpus": 1,
                "store_secret": "model-store",
                "store_port": 8333,
                "ingress_from": [
                    {"namespaces": {"team": "web"}, "pods": {"app": "gateway"}},
                    {"pods": {"app": "batch"}},
                ],
            },
        ),
        "autoscaling": ("hpa", {"waiting_per_pod": 4}),
        "release": {"model_uri": f"s3://bucket/models/{'1' * 64}"},
    },
    ("production", "mounted"): {"deployment": ("kubernetes", {"image": PINNED, **MOUNTED})},
    ("dev", "vllm"): {"deployment": "vllm", "autoscaling": "fixed", "release": {"engine": "torch"}},
    ("production", "vllm"): {
        "deployment": ("vllm", {**OTHERS, **PLACED, "gpus": 2, "max_length": 8192}),
        "autoscaling": "keda",
        "release": {"engine": "torch", "model_uri": f"s3://bucket/models/{'1' * 64}"},
    },
    ("dev", "triton"): {"deployment": "triton", "release": {**CLASSIFIER, "engine": "onnxruntime"}},
    ("production", "triton"): {
        "deployment": ("triton", {**OTHERS, **MOUNTED, "gpus": 1, "instances": 2}),
        "autoscaling": "keda",
        "release": {**CLASSIFIER, "engine": "tensorrt"},
    },
    ("dev", "kserve"): {"deployment": "kserve"},
    ("production", "kserve"): {"deployment": ("kserve", {"image": PINNED, **PLACED})},
    ("production", "canary"): {"rollout": "canary", "traffic": "istio", "autoscaling": "keda"},
    ("production", "blue-green"): {"rollout": "blue-green", "traffic": "gateway-api"},
    ("production", "shadow"): {
        "rollout": "shadow",
        "traffic": "istio",
        "autoscaling": ("hpa", {"waiting_per_pod": 4, "p99_seconds": 2.5, "spare_replicas": 1}),
    },
    ("production", "ab"): {
        "rollout": ("ab", {"header": "x-arm"}),
        "traffic": "gateway-api",
        "autoscaling": ("fixed", {"count": 4}),
    },
    ("production", "watched"): {
        "monitoring": (
            "prometheus",
            {
                "alert_secret": "alerts",
                "bounds": {"p99_seconds": 2},
                "labels": {"release": "kube-prometheus-stack"},
                "runbooks": "https://git.example.com/models/blob/main/docs/runbooks",
            },
        ),
    },
}
"""What is recorded: below the folders of environment and release, the options that differ from ``conf/``."""


def objects(files):
    return [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]


def is_custom(item):
    """Tell whether an object is of a kind that a cluster must be taught, which only the judge knows."""
    group = item["apiVersion"].rpartition("/")[0]
    return ("." in group and not group.endswith(".k8s.io")) or group.startswith("gateway.")


def workload(files):
    """Return what runs the pods; KServe's object as the Deployment that is made of it."""
    found = next(i for i in objects(files) if i["kind"] in ("Deployment", "InferenceService", "Rollout"))
    if found["kind"] != "InferenceService":
        return found
    metadata, predictor = found["metadata"], found["spec"]["predictor"]
    template = {"metadata": {**metadata, "annotations": predictor["annotations"]}, "spec": predictor}
    selector = {"matchLabels": {"app.kubernetes.io/instance": metadata["name"]}}
    return {**found, "spec": {"selector": selector, "template": template}}


@pytest.fixture(params=CASES, ids="/".join)
def files(request, render_with, measured):
    environment, name = request.param
    chosen = {"deployment": SERVER, "environment": environment, **CASES[request.param]}
    if chosen.get("autoscaling") == "keda":
        chosen = {"monitoring": measured, **chosen}
    if "rollout" in chosen:
        chosen["deployment"] = ("kubernetes", {**SERVER[1], "api_key_secret": {"name": "api-keys"}})
        chosen = {"monitoring": measured, **chosen, "environment": REACHED}
    return render_with(**{**chosen, "release": {"name": name, **chosen.get("release", {})}})


def test_rendered_text_matches_the_recorded_one(files):
    if os.environ.get("GITUNE_UPDATE_GOLDEN"):
        write(files, GOLDEN)
    assert diff_text(files, GOLDEN) == ""
    assert changes(files, GOLDEN).foreign == ()


def test_every_recorded_folder_is_rendered():
    recorded = {tuple(lock.parent.relative_to(GOLDEN).parts) for lock in GOLDEN.glob("*/*/*")}
    assert recorded == set(CASES)


def test_core_schemas_accept_every_object(files):
    core_objects = [item for item in objects(files) if not is_custom(item)]
    for item in core_objects:
        kubernetes_validate.validate(item, "1.37", strict=True)
    assert len(core_objects) >= 4


def test_all_schemas_accept_every_object():
    assert kubernetes_judge.judge(GOLDEN) == (len(list(GOLDEN.rglob("*.yaml"))), [])


def test_objects_refer_to_each_other(files):
    by_kind = {item["kind"]: item for item in objects(files)}
    owner = workload(files)
    template = owner["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    selectors = [
        owner["spec"]["selector"]["matchLabels"],
        *(item["spec"]["selector"] for item in objects(files) if item["kind"] == "Service"),
        by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(entry["labelSelector"]["matchLabels"] for entry in pod["topologySpreadConstraints"]),
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert all(selector.keys().isdisjoint({"app.kubernetes.io/version"}) for selector in selectors)
    ports = {port["name"] for port in pod["containers"][0]["ports"]}
    if owner["kind"] != "InferenceService":  # KServe creates the Service
        assert {port["targetPort"] for port in by_kind["Service"]["spec"]["ports"]} == ports
    assert {p["port"] for rule in by_kind["NetworkPolicy"]["spec"]["ingress"] for p in rule["ports"]} == ports
    assert (
        template["spec"]["serviceAccountName"]
        == by_kind["ServiceAccount"]["metadata"]["name"]
        == owner["metadata"]["name"]
    )
    for kind in {"HorizontalPodAutoscaler", "ScaledObject"} & set(by_kind):
        scaled = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
        assert by_kind[kind]["spec"]["scaleTargetRef"] == scaled
        assert "replicas" not in owner["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    if owner["kind"] == "Rollout":  # it carries its files, for old pods that start beside new ones
        carried = [item["fieldRef"]["fieldPath"] for item in volumes["config"]["downwardAPI"]["items"]]
        annotations = template["metadata"]["annotations"]
        assert {path.split("'")[1] for path in carried} <= set(annotations)
        assert "ConfigMap" not in by_kind
    else:
        assert volumes["config"]["configMap"]["name"] == by_kind["ConfigMap"]["metadata"]["name"]
    mounts = [container["volumeMounts"] for container in pod["containers"] + pod["initContainers"]]
    assert {mount["name"] for mounted in mounts for mount in mounted} == set(volumes)
    for container in pod["containers"] + pod["initContainers"]:
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(paths)) == len(paths)


def test_every_object_has_its_provenance(files):
    release = Release.read(HERE / "tiny.lock")
    for item in objects(files):
        own = {key: text for key, text in item["metadata"]["annotations"].items() if "gitune.dev/" in key}
        assert own == {
            "gitune.dev/base-model": release.base_model,
            "gitune.dev/commit": release.commit,
            "gitune.dev/data-digest": release.data_digest,
            "gitune.dev/digest": release.digest,
            "gitune.dev/plan": release.plan,
            "gitune.dev/recipe": release.recipe,
        }
        assert item["metadata"]["labels"]["app.kubernetes.io/version"] == "1" * 12


def test_pods_are_restricted_with_limits(files):
    pod = workload(files)["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {kind for volume in pod["volumes"] for kind in set(volume) - {"name"}} <= {
        "configMap",
        "downwardAPI",
        "emptyDir",
        "image",
        "persistentVolumeClaim",
    }
    for container in pod["containers"] + pod["initContainers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        for kind in ("cpu", "memory"):
            request, limit = (container["resources"][side][kind] for side in ("requests", "limits"))
            assert Decimal(0) < amount(request) <= amount(limit)
    for container in pod["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
