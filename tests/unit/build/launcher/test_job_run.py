"""A submitted job can be waited for and canceled, in any order."""

from pathlib import Path
from typing import Any

import pytest

from framework.build.launcher import Built
from framework.build.launcher.follow_job import JobRun
from framework.core.release import Release

METADATA = {"name": "tiny-0", "namespace": "training"}
JOB = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": METADATA, "spec": {}}
FOLDER = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/training/trainjobs"
BUILT = Built(Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock"), 3)
RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
ENDED: dict[str, Any] = {"terminated": {"exitCode": 0, "message": ""}}


def submit() -> JobRun:
    job = {**JOB, "metadata": dict(METADATA)}
    return JobRun([job], "Complete", None, "run", lambda: BUILT, pause=0.01)


def test_cancel_deletes_the_job(cluster: Any) -> None:
    run = submit()
    assert FOLDER + "/tiny-0" in cluster.objects
    run.cancel()
    assert FOLDER + "/tiny-0" not in cluster.objects


def test_wait_returns_the_release_without_the_log(cluster: Any, capfd: pytest.CaptureFixture) -> None:
    def start() -> None:
        cluster.pod("p", RUNNING)
        cluster.log("p", "[ 1/3] model")

    def end() -> None:
        cluster.pod("p", ENDED)
        cluster.finish("Complete")

    cluster.script = [start, end]
    run = submit()
    assert run.wait() is BUILT
    assert "[ 1/3] model" not in capfd.readouterr().out


def test_job_may_be_gone_once_its_end_is_known(cluster: Any) -> None:
    def end() -> None:
        cluster.pod("p", ENDED)
        cluster.finish("Complete")

    cluster.script = [end]
    run = submit()
    run.follow()
    del cluster.objects[cluster.job]
    assert run.wait() is BUILT
    run.cancel()


def test_cancel_keeps_a_job_that_has_ended(cluster: Any) -> None:
    cluster.script = [lambda: cluster.pod("p", ENDED), lambda: cluster.finish("Complete")]
    run = submit()
    run.wait()
    run.cancel()
    assert cluster.job in cluster.objects
