"""What is rendered for a fixed release, kept in ``environments/`` beside this file.

``GITUNE_UPDATE_GOLDEN=1 pytest tests/golden`` (``just golden``) writes it anew; review the diff.
"""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from framework.autoscaling import Autoscaling
from framework.core.release import Release
from framework.deployment import Delivery, Deployment
from framework.environment import Environment
from framework.manifests.values import amount
from framework.monitoring import Monitoring
from framework.rollout import Rollout
from framework.secrets import Secrets
from framework.serving import Serving
from framework.stages.render import changes, diff_text, render, write
from framework.traffic import Traffic

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
GOLDEN = HERE / "environments"
JUDGE = REPOSITORY.parent / "shared" / "kubernetes" / "check_manifests.py"
PINNED = f"registry.example.com/gitune/server@sha256:{'5' * 64}"
CASES = {
    ("dev", "tiny"): {},
    ("staging", "tiny"): {"image": PINNED},
    ("production", "tiny"): {"image": PINNED},
    ("production", "remote"): {
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
}


def option(group, name):
    return yaml.safe_load((REPOSITORY / "conf" / group / f"{name}.yaml").read_text())


def rendered(environment, name):
    release = Release.read(HERE / "tiny.lock")
    if name == "remote":
        place = {"name": name, "model_uri": release.model_uri.replace("file://.gitune", "s3://bucket")}
        release = release.model_copy(update=place)
    return render(
        release,
        Deployment.model_validate(option("deployment", "kubernetes") | CASES[environment, name]),
        Delivery(
            serving=Serving.model_validate(option("serving", "litserve")),
            environment=Environment.model_validate(option("environment", environment)),
            rollout=Rollout.model_validate(option("rollout", "rolling")),
            autoscaling=Autoscaling.model_validate(option("autoscaling", "hpa")),
            traffic=Traffic.model_validate(option("traffic", "none")),
            monitoring=Monitoring.model_validate(option("monitoring", "none")),
            secrets=Secrets.model_validate(option("secrets", "none")),
        ),
    )


def objects(files):
    return [yaml.safe_load(text) for name, text in files.items() if name.endswith(".yaml")]


@pytest.fixture(params=CASES, ids="/".join)
def files(request):
    return rendered(*request.param)


def test_rendered_text_is_the_recorded_one(files):
    if os.environ.get("GITUNE_UPDATE_GOLDEN"):
        write(files, GOLDEN)
    assert diff_text(files, GOLDEN) == ""
    assert changes(files, GOLDEN).foreign == ()


def test_no_folder_is_recorded_that_nothing_renders():
    recorded = {tuple(lock.parent.relative_to(GOLDEN).parts) for lock in GOLDEN.glob("*/*/*")}
    assert recorded == set(CASES)


def test_an_api_server_would_take_every_object(files):
    for item in objects(files):
        kubernetes_validate.validate(item, "1.37", strict=True)
    assert len(objects(files)) == 7


def test_judge_finds_no_problem():
    if not JUDGE.exists():
        pytest.skip("shared/kubernetes/check_manifests.py is not beside this clone")
    judged = subprocess.run([sys.executable, JUDGE, GOLDEN], capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr
    assert f"{7 * len(CASES)} objects" in judged.stdout


def test_objects_point_at_each_other(files):
    by_kind = {item["kind"]: item for item in objects(files)}
    template = by_kind["Deployment"]["spec"]["template"]
    pod, labels = template["spec"], template["metadata"]["labels"]
    selectors = [
        by_kind["Deployment"]["spec"]["selector"]["matchLabels"],
        by_kind["Service"]["spec"]["selector"],
        by_kind["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        by_kind["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(entry["labelSelector"]["matchLabels"] for entry in pod["topologySpreadConstraints"]),
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert all(selector.keys().isdisjoint({"app.kubernetes.io/version"}) for selector in selectors)
    ports = {port["name"] for port in pod["containers"][0]["ports"]}
    assert {port["targetPort"] for port in by_kind["Service"]["spec"]["ports"]} <= ports
    assert {p["port"] for rule in by_kind["NetworkPolicy"]["spec"]["ingress"] for p in rule["ports"]} <= ports
    assert (
        by_kind["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"]
        == template["spec"]["serviceAccountName"]
        == by_kind["ServiceAccount"]["metadata"]["name"]
        == by_kind["Deployment"]["metadata"]["name"]
    )
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["config"]["configMap"]["name"] == by_kind["ConfigMap"]["metadata"]["name"]
    for container in pod["containers"] + pod["initContainers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
        paths = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert len(set(paths)) == len(paths)


def test_every_object_leads_back_to_the_release(files):
    release = Release.read(HERE / "tiny.lock")
    for item in objects(files):
        assert item["metadata"]["annotations"] == {
            "gitune.dev/base-model": release.base_model,
            "gitune.dev/commit": release.commit,
            "gitune.dev/data-digest": release.data_digest,
            "gitune.dev/digest": release.digest,
            "gitune.dev/plan": release.plan,
            "gitune.dev/recipe": release.recipe,
        }
        assert item["metadata"]["labels"]["app.kubernetes.io/version"] == "1" * 12


def test_pods_meet_the_level_restricted_and_are_bounded(files):
    pod = next(i for i in objects(files) if i["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {kind for volume in pod["volumes"] for kind in set(volume) - {"name"}} <= {
        "configMap",
        "emptyDir",
        "persistentVolumeClaim",
    }
    for container in pod["containers"] + pod["initContainers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        for kind in ("cpu", "memory"):
            asked, most = (container["resources"][side][kind] for side in ("requests", "limits"))
            assert Decimal(0) < amount(asked) <= amount(most)
    for container in pod["containers"]:
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
