"""Submitting and following a job, against a small API server instead of a cluster."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from framework.build.launcher import Built, Interrupted
from framework.build.launcher import follow_job as following
from framework.build.launcher.follow_job import JobRun
from framework.core.errors import ClusterError, StepError
from framework.core.release import Release

BUILT = Built(Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock"), 3)
RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
METADATA = {"name": "tiny-0", "namespace": "training"}
OBJECTS = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": METADATA, "data": {"job.json": "{}"}},
    {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": METADATA, "spec": {}},
    {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": METADATA,
        "spec": {"suspend": True},
    },
]
FOLDER = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/training/trainjobs"


def ended(code: int, message: str = "", **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "message": message, **more}}


def begin() -> None:
    objects = [{**item, "metadata": dict(METADATA)} for item in OBJECTS]
    run = JobRun(objects, "Complete", None, "run +recipe=tiny launcher=trainjob", lambda: BUILT, pause=0.01)
    run.follow()
    assert run.wait() is BUILT


def created(cluster: Any) -> list[str]:
    return [body["kind"] for body in cluster.bodies]


def admit(cluster: Any) -> None:
    cluster.objects[cluster.job]["spec"] = {"suspend": False}


def test_job_is_submitted_queued_followed_and_ended(cluster: Any, capfd: pytest.CaptureFixture) -> None:
    def queue() -> None:
        path = "/apis/kueue.x-k8s.io/v1beta2/namespaces/training/workloads/w"
        uid = cluster.objects[cluster.job]["metadata"]["uid"]
        condition = {
            "type": "QuotaReserved",
            "status": "False",
            "message": "insufficient quota for nvidia.com/gpu",
        }
        labels = {"kueue.x-k8s.io/job-uid": uid}
        cluster.objects[path] = {"metadata": {"labels": labels}, "status": {"conditions": [condition]}}

    def schedule() -> None:
        admit(cluster)
        unplaced = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
        cluster.pod("p", {}, conditions=[unplaced])

    def start() -> None:
        cluster.pod("p", RUNNING)
        cluster.log("p", "[ 1/3] model", "  done in 1.0 s, peak 0.5 GiB")

    def end() -> None:
        cluster.log("p", "[ 2/3] data", "", "last words")
        cluster.pod("p", ended(0))
        cluster.finish("Complete")

    cluster.script = [queue, lambda: None, schedule, start, lambda: None, end]
    begin()
    printed = capfd.readouterr()
    assert printed.out.splitlines() == [
        "Submitted TrainJob training/tiny-0; Ctrl-C leaves it running.",
        "[ 1/3] model",
        "  done in 1.0 s, peak 0.5 GiB",
        "[ 2/3] data",
        "",
        "last words",
    ]
    assert printed.err.splitlines() == [
        "  queued by Kueue: insufficient quota for nvidia.com/gpu",
        "  not scheduled yet: 0/3 nodes are available",
    ]
    assert created(cluster) == ["ConfigMap", "NetworkPolicy", "TrainJob"]
    owner = cluster.objects["/api/v1/namespaces/training/configmaps/tiny-0"]["metadata"]["ownerReferences"]
    uid = cluster.objects[cluster.job]["metadata"]["uid"]
    version = "trainer.kubeflow.org/v1alpha1"
    assert owner == [{"apiVersion": version, "kind": "TrainJob", "name": "tiny-0", "uid": uid}]


def test_running_job_is_followed(cluster: Any, capfd: pytest.CaptureFixture) -> None:
    cluster.job = f"{FOLDER}/tiny-0"
    cluster.objects[cluster.job] = {"metadata": {**METADATA, "uid": "u"}, **OBJECTS[-1], "spec": {}}
    cluster.objects[cluster.job]["metadata"] = {**METADATA, "uid": "u"}
    cluster.pod("p", RUNNING)
    cluster.log("p", "[ 1/3] model")
    cluster.script = [lambda: None, lambda: None, lambda: cluster.finish("Complete")]
    begin()
    assert created(cluster) == []
    assert capfd.readouterr().out.splitlines() == [
        "TrainJob training/tiny-0 already exists; following it. Ctrl-C leaves it running.",
        "[ 1/3] model",
    ]


def test_failed_job_is_started_again(cluster: Any, capfd: pytest.CaptureFixture) -> None:
    cluster.job = f"{FOLDER}/tiny-0"
    failed = {"conditions": [{"type": "Failed", "status": "True"}]}
    cluster.objects[cluster.job] = {**OBJECTS[-1], "metadata": {**METADATA, "uid": "old"}, "status": failed}
    left = "/api/v1/namespaces/training/configmaps/tiny-0"
    cluster.objects[left] = {**OBJECTS[0], "metadata": dict(METADATA), "data": {"job.json": "another's"}}
    cluster.script = [lambda: None, lambda: cluster.finish("Complete")]
    begin()
    assert "ended without a release; starting it again" in capfd.readouterr().out
    assert ("DELETE", cluster.job) in cluster.asked
    assert created(cluster) == ["ConfigMap", "NetworkPolicy", "TrainJob"]
    assert cluster.objects[left]["data"] == {"job.json": "{}"}


@pytest.mark.parametrize("code", [1, 2])
def test_worker_message_and_exit_code_come_back(cluster: Any, code: int) -> None:
    def end() -> None:
        cluster.pod("p", ended(code, "gate quality: tuned.exact_match is 0.1, asked is >= 0.5\n"))
        cluster.finish("Failed", "jobset failed")

    cluster.script = [end]
    with pytest.raises(StepError, match="gate quality: tuned") as error:
        begin()
    assert str(error.value) == "gate quality: tuned.exact_match is 0.1, asked is >= 0.5"
    assert error.value.exit_code == code


def test_out_of_memory_names_the_overrides(cluster: Any) -> None:
    def end() -> None:
        cluster.pod("p", ended(137, reason="OOMKilled"))
        cluster.finish("Failed", "BackoffLimitExceeded")

    cluster.script = [end]
    with pytest.raises(StepError, match=r"raise launcher\.limits\.memory") as error:
        begin()
    assert error.value.exit_code == 1


def test_job_that_fails_without_pod_reports_why(cluster: Any) -> None:
    cluster.script = [lambda: cluster.finish("Failed", "job was active longer than its deadline")]
    with pytest.raises(StepError, match="tiny-0: job was active longer than its deadline"):
        begin()


def test_replaced_pod_is_followed_without_repeated_lines(cluster: Any, capfd: pytest.CaptureFixture) -> None:
    def first() -> None:
        admit(cluster)
        cluster.pod("p", RUNNING)
        cluster.log("p", "step 1", "step 2")

    def second() -> None:
        cluster.pod("q", RUNNING, created="2026-01-01T01:00:00Z")
        cluster.log("q", "step 2", "step 3")

    cluster.script = [first, lambda: None, second, lambda: None, lambda: cluster.finish("Complete")]
    begin()
    assert capfd.readouterr().out.splitlines()[1:] == ["step 1", "step 2", "step 2", "step 3"]


def test_image_pull_error_is_printed_once(cluster: Any, capfd: pytest.CaptureFixture) -> None:
    def wait() -> None:
        admit(cluster)
        cluster.pod("p", {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}})

    cluster.script = [wait, lambda: None, lambda: None, lambda: cluster.finish("Complete")]
    begin()
    assert capfd.readouterr().err == "  ImagePullBackOff: no such image\n"


def test_signal_keeps_job_running_and_names_the_command(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(seconds: float) -> None:
        # Calls the handler directly: a real signal can end a process that has other libraries' threads.
        handler = signal.getsignal(signal.SIGINT)
        assert callable(handler)
        handler(signal.SIGINT, None)

    monkeypatch.setattr(following.time, "sleep", pause)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="TrainJob tiny-0 keeps running") as stopped:
        begin()
    message = str(stopped.value)
    assert "run +recipe=tiny launcher=trainjob\n" in message
    assert message.endswith("kubectl delete trainjob -n training tiny-0")
    assert stopped.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert cluster.job in cluster.objects


def test_deleted_job_is_an_error(cluster: Any) -> None:
    cluster.script = [lambda: cluster.objects.pop(cluster.job)]
    with pytest.raises(ClusterError, match="TrainJob tiny-0: deleted while it was followed"):
        begin()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (403, "environments/argocd/training/"),
        (404, "launcher=trainjob and launcher=jobset"),
        (422, "launcher setting"),
    ],
)
def test_refusal_is_one_sentence_with_its_remedy(cluster: Any, code: int, remedy: str) -> None:
    cluster.refusals["POST", "/trainjobs"] = (code, "no")
    with pytest.raises(ClusterError, match=rf"POST .*/trainjobs: .*; .*{remedy}") as error:
        begin()
    assert "\n" not in str(error.value)


def test_kind_that_is_not_installed_is_named(cluster: Any) -> None:
    del cluster.kinds["/apis/trainer.kubeflow.org/v1alpha1"]
    with pytest.raises(ClusterError, match=r"TrainJob of trainer\.kubeflow\.org.*launcher=jobset"):
        begin()


def test_kueue_is_optional(cluster: Any, capfd: pytest.CaptureFixture) -> None:
    cluster.refusals["GET", "/workloads"] = (403, "no")
    cluster.script = [lambda: None, lambda: cluster.finish("Complete")]
    begin()
    assert capfd.readouterr().err == "  queued: waiting for Kueue to admit it\n"


def test_request_is_repeated_during_an_outage(cluster: Any) -> None:
    cluster.refusals["GET", "/tiny-0"] = (503, "overloaded")
    recovery = threading.Timer(0.3, lambda: cluster.refusals.clear())
    recovery.start()
    cluster.script = [lambda: cluster.finish("Complete")]
    begin()
    recovery.join()
    assert [path for _, path in cluster.asked].count(f"{FOLDER}/tiny-0") > 2


def test_long_outage_is_one_sentence(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "OUTAGE_SECONDS", 0.2)
    cluster.refusals["GET", "/tiny-0"] = (503, "overloaded")
    with pytest.raises(ClusterError, match=r"cannot be reached \(503.*the same command follows it"):
        begin()


def test_missing_kubeconfig_names_the_overrides(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match=r"set KUBECONFIG or launcher\.context=.*launcher\.dry_run=true"):
        begin()


def test_import_loads_no_heavy_library() -> None:
    look = "import sys; from framework.build.launcher import follow_job, jobset, trainjob"
    code = f"{look}; print([name for name in ('kubernetes', 'torch', 'fsspec') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
