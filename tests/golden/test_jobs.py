"""The objects of a training job, recorded in ``jobs/`` beside this file, without the job's JSON.

``GITUNE_UPDATE_GOLDEN=1 pytest tests/golden`` (``just golden``) updates them; review the diff. The objects in
``environments/argocd/training/``, which are applied once, are validated here too.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import kubernetes_judge
import kubernetes_validate
import pytest
import yaml

from framework.build.launcher import Launcher, Work
from framework.build.launcher.cluster_launcher import ClusterLauncher
from framework.build.model.tiny import TinyCausalLM
from framework.build.stages.model import FetchModel
from framework.core import yaml as ours
from framework.core.step import Step
from framework.core.store import Store
from framework.manifests.values import amount

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
GOLDEN = HERE / "jobs"
ONCE = REPOSITORY / "environments" / "argocd" / "training"
PINNED = f"registry.example.com/gitune/trainer@sha256:{'7' * 64}"
LARGE = {
    "image": PINNED,
    "queue": "research",
    "priority": "nightly",
    "priority_class": "training",
    "secret": "model-store",
    "egress_ports": [443, 8333],
    "node_selector": {"gitune.dev/pool": "training"},
    "tolerations": [{"key": "gitune.dev/pool", "value": "training"}],
    "capacity": {"kind": "spot"},
    "deadline_seconds": 86400,
    "shared_memory": "8Gi",
    "requests": {"cpu": "16", "memory": "128Gi"},
    "limits": {"cpu": "32", "memory": "256Gi"},
}
CASES: dict[tuple[str, str], dict[str, Any]] = {
    ("trainjob", "one"): {},
    ("trainjob", "four"): LARGE,
    ("jobset", "one"): {"queue": None},
    ("jobset", "four"): LARGE,
}


@pytest.fixture(autouse=True)
def planned_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit that jobs are planned from, instead of this checkout's own."""
    monkeypatch.setattr("framework.build.launcher.checkout_commit", lambda folder: "c" * 40)


def rendered(option: str, size: str) -> list[dict[str, Any]]:
    fields = yaml.safe_load((REPOSITORY / "conf" / "launcher" / f"{option}.yaml").read_text())
    launcher = Launcher.model_validate(fields | CASES[option, size])
    assert isinstance(launcher, ClusterLauncher)
    model = TinyCausalLM(name="tiny", license="Apache-2.0", parameters=1e5)
    return launcher.objects(
        Work(
            name="tiny",
            recipe="tiny",
            command="run +recipe=tiny",
            steps=(Step("model", FetchModel(model=model, seed=0)),),
            plan="a" * 64,
            store=Store(Path(".gitune/store")),
            url="s3://bucket/models",
            plugins=(),
            machines=4 if size == "four" else 1,
            processes=8 if size == "four" else 1,
            gpus=size == "four",
            saving_seconds=25.0,
        )
    )


def texts(option: str, size: str) -> dict[str, str]:
    """Return each object's file, without the job's name and JSON, which depend on library versions."""
    objects = rendered(option, size)
    name = objects[-1]["metadata"]["name"]
    objects[0]["data"] = {"job.json": "{}"}
    files = {f"{item['kind'].lower()}-tiny.yaml": ours.dump(item) for item in objects}
    return {file: text.replace(name, "tiny-0123456789ab") for file, text in files.items()}


@pytest.fixture(params=CASES, ids="/".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


def test_objects_match_the_recorded_ones(case: tuple[str, str]) -> None:
    folder = GOLDEN.joinpath(*case)
    if os.environ.get("GITUNE_UPDATE_GOLDEN"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file, text in texts(*case).items():
            (folder / file).write_text(text)
    assert {file.name: file.read_text() for file in folder.iterdir()} == texts(*case)


def test_every_recorded_folder_is_rendered() -> None:
    assert {tuple(folder.relative_to(GOLDEN).parts) for folder in GOLDEN.glob("*/*")} == set(CASES)


def test_all_schemas_accept_every_object() -> None:
    files = [*GOLDEN.rglob("*.yaml"), *ONCE.glob("*.yaml")]
    assert kubernetes_judge.judge(GOLDEN, ONCE) == (len(files), [])


def pods(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (group,) = next(
        (item["spec"].get("template", item)["spec"]["replicatedJobs"])
        for item in objects
        if item["kind"] in ("TrainingRuntime", "JobSet")
    )
    spec: dict[str, Any] = group["template"]["spec"]
    return spec


def test_pods_are_valid_and_restricted(case: tuple[str, str]) -> None:
    job = pods(rendered(*case))
    spec = job["template"]["spec"]
    named = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
    kubernetes_validate.validate(named, "1.37", strict=True)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    for kind in ("cpu", "memory"):
        request, limit = (container["resources"][side][kind] for side in ("requests", "limits"))
        assert 0 < amount(request) <= amount(limit)
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    # Exit codes count only where no pod is restarted in place.
    assert spec["restartPolicy"] == "Never"
    assert [rule["action"] for rule in job["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]


def test_every_machine_gets_a_gpu_per_process(case: tuple[str, str]) -> None:
    (container,) = pods(rendered(*case))["template"]["spec"]["containers"]
    gpus = "8" if case[1] == "four" else None
    for side in ("requests", "limits"):
        assert container["resources"][side].get("nvidia.com/gpu") == gpus


def test_objects_have_the_jobs_name_and_provenance(case: tuple[str, str]) -> None:
    objects = rendered(*case)
    job = objects[-1]
    name = job["metadata"]["name"]
    assert {item["metadata"]["name"] for item in objects} == {name}
    assert {item["metadata"]["namespace"] for item in objects} == {"training"}
    for item in objects:
        assert item["metadata"]["annotations"] == {
            "gitune.dev/commit": "c" * 40,
            "gitune.dev/plan": "a" * 64,
            "gitune.dev/recipe": "tiny",
            "gitune.dev/release": "tiny",
        }
    template = pods(objects)["template"]
    policy = next(item for item in objects if item["kind"] == "NetworkPolicy")
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector.items() <= template["metadata"]["labels"].items()
    (files,) = (volume["configMap"] for volume in template["spec"]["volumes"] if "configMap" in volume)
    assert files["name"] == name
    queue = job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")
    assert job["spec"]["suspend"] is (queue is not None)
    written = json.loads(objects[0]["data"]["job.json"])
    assert written["store"] == "/gitune/store"
    assert written["machines"] == (4 if case[1] == "four" else 1)


def test_pod_names_fit_a_label(case: tuple[str, str]) -> None:
    """JobSet appends the group, two indexes and five letters; the result must fit a label's value."""
    launcher = Launcher.model_validate({"_target_": "framework.build.launcher.jobset.JobSet"})
    assert isinstance(launcher, ClusterLauncher)
    work = Work(**{**vars(_work(case)), "name": "a" * 28 + "-" + "b" * 11})
    name = launcher.identity(work).name
    assert "--" not in name
    assert len(f"{name}-node-0-999-abcde") <= 63


def _work(case: tuple[str, str]) -> Work:
    model = TinyCausalLM(name="tiny", license="Apache-2.0", parameters=1e5)
    step = Step("model", FetchModel(model=model, seed=0))
    url, store = "s3://b/m", Store(Path("store"))
    return Work("tiny", "tiny", "run", (step,), "a" * 64, store, url, (), 1, 1, False, 25.0)


def test_real_api_server_accepts_the_job(case: tuple[str, str]) -> None:
    """Needs a KUBECONFIG whose cluster has the kinds and the namespace ``training``."""
    if "KUBECONFIG" not in os.environ:
        pytest.skip("KUBECONFIG is not set")
    from framework.manifests.api_connection import ApiConnection, Remedies
    from framework.manifests.kubernetes_api import KubernetesApi

    api = KubernetesApi(ApiConnection(None, Remedies()))
    for item in rendered(*case):
        if item["kind"] == "TrainJob":
            continue  # its webhook looks for the runtime, which a dry run does not create
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        api.connection.call("POST", api.folder(item), body=item, query=query)
