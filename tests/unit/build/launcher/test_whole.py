"""A recipe from the command to the rendered lock; the worker's process stands in for the pod."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
# A model store that two processes reach by a URL: a folder that passes for a bucket.
BUCKET = """
import os
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

class Bucket(DirFileSystem):
    protocol = "bucket"
    def __init__(self, **options):
        super().__init__(path=os.environ["BUCKET"], fs=LocalFileSystem(auto_mkdir=True))
    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("bucket://")
"""
WORDS = ("+recipe=tiny", "launcher=trainjob", "publish.url=bucket://models")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def team(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Environment variables that give access to the bucket."""
    places = tmp_path / "places"
    (places / "bucketfs-1.0.dist-info").mkdir(parents=True)
    (places / "bucketfs.py").write_text(BUCKET)
    (places / "bucketfs-1.0.dist-info" / "METADATA").write_text("Name: bucketfs\nVersion: 1.0\n")
    (places / "bucketfs-1.0.dist-info" / "entry_points.txt").write_text(
        "[fsspec.specs]\nbucket = bucketfs:Bucket\n"
    )
    path = os.pathsep.join([str(places), environ["PYTHONPATH"]])
    found = {**environ, "PYTHONPATH": path, "BUCKET": str(tmp_path / "bucket")}
    return {name: value for name, value in found.items() if name != "KUBECONFIG"}


@pytest.fixture
def run(team: dict[str, str], tmp_path: Path, cluster: Any) -> Run:
    """Run the command in a clone of the team's repository."""
    folder = tmp_path / "work"
    folder.mkdir()
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for words in (("init", "-q"), (*who, "commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    environment = {**team, "KUBECONFIG": os.environ["KUBECONFIG"]}

    def call(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "framework.cli.main", *words]
        return subprocess.run(
            command, cwd=folder, env=environment, text=True, capture_output=True, timeout=600
        )

    return call


class Kubelet:
    """Starts the job's command, with its files and variables, and reports its state to the server."""

    def __init__(self, cluster: Any, environment: dict[str, str], root: Path) -> None:
        self.cluster, self.environment, self.root = cluster, environment, root
        self.process: subprocess.Popen[str] | None = None
        self.log, self.message = root / "log", root / "termination-log"
        cluster.script.append(self.look)

    def look(self) -> None:
        self.cluster.script.append(self.look)
        if not any(body["kind"] == "TrainJob" for body in self.cluster.bodies):
            return  # the client asks whether the job exists
        if self.process is None:
            self.process = self.start()
        lines = self.log.read_text().splitlines()
        self.cluster.log("p", *lines[len(self.cluster.logs.get("p", [])) :])
        code = self.process.poll()
        if code is None:
            self.cluster.pod("p", {"running": {}})
            return
        said = self.message.read_text() if self.message.exists() else ""
        self.cluster.pod("p", {"terminated": {"exitCode": code, "message": said}})
        self.cluster.finish("Complete" if code == 0 else "Failed")

    def start(self) -> "subprocess.Popen[str]":
        """Act as Kueue, Trainer, JobSet, Job and kubelet, with a local folder as the store's volume."""
        objects = {body["kind"]: body for body in self.cluster.bodies}
        template = objects["TrainingRuntime"]["spec"]["template"]["spec"]["replicatedJobs"][0]
        (container,) = template["template"]["spec"]["template"]["spec"]["containers"]
        job = json.loads(objects["ConfigMap"]["data"]["job.json"])
        job["store"] = f"{self.root}{job['store']}"
        (self.root / "job.json").write_text(json.dumps(job))
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        given |= {"GITUNE_MESSAGE": str(self.message), "GITUNE_RUN": "uid", "HOME": str(self.root)}
        given["GITUNE_CACHE"] = f"{self.root}{given['GITUNE_CACHE']}"
        command = objects["TrainJob"]["spec"]["trainer"]["command"]
        assert command == ["python", "-m", "framework.worker", "/etc/gitune/job.json"]
        with self.log.open("w") as log:
            return subprocess.Popen(
                [sys.executable, *command[1:-1], str(self.root / "job.json")],
                cwd=self.root,
                env={**self.environment, **given},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )


@pytest.mark.slow
@pytest.mark.e2e
def test_recipe_is_trained_in_cluster_and_rendered_here(
    cluster: Any, run: Run, team: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pod").mkdir()
    kubelet = Kubelet(cluster, team, tmp_path / "pod")
    done = run(*WORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Submitted TrainJob training/tiny-")
    assert "[ 1/14] model" in lines
    assert "[14/14] publish" in lines
    lock = json.loads((tmp_path / "work/environments/dev/tiny/release.lock").read_text())
    assert lock["model_uri"].startswith("bucket://models/")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path / "work", capture_output=True, text=True, check=True
    )
    assert lock["commit"] == head.stdout.strip()
    assert (tmp_path / "work/environments/dev/tiny/deployment-tiny.yaml").is_file()
    assert not (tmp_path / "work/.gitune/store").exists()
    assert (tmp_path / "pod/gitune/store/publish").is_dir()

    submitted = len(cluster.bodies)
    again = run(*WORDS)
    assert again.returncode == 0, again.stderr
    assert "nothing to build" in again.stdout
    assert len(cluster.bodies) == submitted

    # A version deleted from the model store is published again from the cluster's store.
    shutil.rmtree(tmp_path / "bucket")
    cluster.script, cluster.bodies = [], []
    cluster.logs.clear()
    kubelet = Kubelet(cluster, team, tmp_path / "pod")
    lost = run(*WORDS)
    assert lost.returncode == 0, lost.stdout + lost.stderr
    assert "ended without a release; starting it again" in lost.stdout
    assert json.loads((tmp_path / "work/environments/dev/tiny/release.lock").read_text()) == lock
    assert (tmp_path / "bucket" / "models" / "releases" / "tiny" / f"{lock['plan']}.lock").is_file()

    # A missed gate: the worker's message and exit code come back, and nothing is rendered.
    cluster.job, cluster.script, cluster.bodies = "", [], []
    kubelet = Kubelet(cluster, team, tmp_path / "pod")
    cluster.logs.clear()
    missed = run(*WORDS, "gates.exact_match.min=1.0")
    assert missed.returncode == 1
    assert "tuned.exact_match" in missed.stderr
    assert "Traceback" not in missed.stderr
    assert kubelet.process is not None
    assert json.loads((tmp_path / "work/environments/dev/tiny/release.lock").read_text()) == lock


def test_job_is_only_written_with_dry_run(cluster: Any, run: Run, tmp_path: Path) -> None:
    done = run(*WORDS, "launcher.dry_run=true")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "work/.gitune/jobs").iterdir()
    assert done.stdout == f"Wrote .gitune/jobs/{folder.name}/; submit it with: kubectl create -f " + (
        f".gitune/jobs/{folder.name}\n"
    )
    kinds = ("configmap", "networkpolicy", "trainingruntime", "trainjob")
    assert sorted(file.name for file in folder.iterdir()) == [f"{kind}-{folder.name}.yaml" for kind in kinds]
    assert cluster.asked == []
    planned = run("plan", *WORDS)
    assert f"Job: TrainJob {folder.name} in namespace training, queue training" in planned.stdout


def test_plan_refuses_files_that_pods_cannot_reach(cluster: Any, run: Run, tmp_path: Path) -> None:
    rows = tmp_path / "work" / "rows"
    rows.mkdir()
    (rows / "own.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 40)
    own = ("data.train=rows/own.jsonl", "data.test=null", "environment=production")
    refused = run("plan", *WORDS[:2], *own)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[0] == "The plan cannot run:"
    assert "publish.url: 'file://.gitune/models' " in refused.stderr
    assert "launcher: 'rows/own.jsonl' " in refused.stderr
    assert "launcher.image: 'gitune/trainer:0.1.0' is not pinned by digest" in refused.stderr
    fits = run("plan", *WORDS, *own[:2], "launcher.image_folders=[rows]")
    assert fits.returncode == 0, fits.stderr
    assert cluster.asked == []
