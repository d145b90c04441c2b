"""The worker process: jobs, errors and signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from framework.build.data.files import Files
from framework.build.model import Model
from framework.build.stages.model import FetchModel
from framework.build.stages.read import ReadRows
from framework.core import step
from framework.core.errors import StepError
from framework.core.job import read_steps, write_job
from framework.core.step import Step
from framework.core.store import Store

ROOT = Path(__file__).parents[2]

# A plugin whose stages sleep, fail, crash or start a child process.
PLUGIN = """
import subprocess, time
from pathlib import Path
from typing import ClassVar
from framework.core.errors import StepError
from framework.core.job import read_steps, write_job
from framework.core.step import Stage

class Sleep(Stage):
    name: ClassVar[str] = "sleep"
    version: ClassVar[int] = 1
    marker: str
    def run(self, inputs, output, workspace):
        child = subprocess.Popen(["sleep", "60"])
        (output / "half").write_text("half")
        Path(self.marker).write_text(str(child.pid))
        time.sleep(60)

class Fail(Stage):
    name: ClassVar[str] = "fail"
    version: ClassVar[int] = 1
    def run(self, inputs, output, workspace):
        raise StepError("the stage failed")

class Crash(Fail):
    def run(self, inputs, output, workspace):
        raise ZeroDivisionError("a bug")
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "sleepy.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    import importlib

    sys.modules.pop("sleepy", None)
    return importlib.import_module("sleepy")


def write(tmp_path: Path, step: Step) -> Path:
    job = tmp_path / "job.json"
    job.write_text(write_job((step,), [step], str(tmp_path / "store"), ("sleepy",)))
    return job


def work(tmp_path: Path, job: Path, stdin: Any = subprocess.PIPE) -> "subprocess.Popen[str]":
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    return subprocess.Popen(
        [sys.executable, "-m", "framework.worker", str(job)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=True,
    )


def finish(worker: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait for the worker to end without closing its standard input, which would kill it."""
    worker.wait(timeout=60)
    stdin, worker.stdin = worker.stdin, None
    output = worker.communicate()
    if stdin is not None:
        stdin.close()
    return output


def wait_for(marker: Path) -> int:
    deadline = time.monotonic() + 60
    while not (marker.exists() and marker.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(marker.read_text())


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_job_is_read_back_with_equal_keys(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    rows = Files(train=str(tmp_path / "train.jsonl"), test=str(tmp_path / "test.jsonl"))
    model = Step("model", FetchModel(model=tiny_model, seed=3))
    data = Step("read", ReadRows.of(rows))
    job = json.loads(write_job((model, data), [data], str(tmp_path / "store"), ()))
    steps = read_steps(job)
    assert steps == {model.key: model, data.key: data}
    assert job["pending"] == [data.key]
    assert job["positions"] == {model.key: 1, data.key: 2}
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "completion": "changed"}\n')
    with pytest.raises(StepError, match=r"^read: "):
        read_steps(job)


def test_missing_library_is_named(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an image without an extra: the job ends before the first step, not at the one that needs it."""
    model = Step("model", FetchModel(model=tiny_model, seed=3))
    planned = json.loads(write_job((model,), [model], "/store", ()))
    known = step._version
    monkeypatch.setattr(step, "_version", lambda name: None if name == "torch" else known(name))
    with pytest.raises(StepError, match=r"model: planned with torch \S+, but it is not installed"):
        read_steps(planned)


def test_other_library_version_is_named(tiny_model: Model) -> None:
    model = Step("model", FetchModel(model=tiny_model, seed=3))
    job = json.loads(write_job((model,), [model], "/store", ()))
    (entry,) = job["steps"]
    entry["libraries"]["torch"] = "1.0"
    entry["key"] = "0" * 64
    with pytest.raises(StepError, match=r"^model: .*torch 1\.0"):
        read_steps(job)


def test_error_is_written_to_the_message_file(
    tmp_path: Path, plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITUNE_MESSAGE", str(tmp_path / "message"))
    worker = work(tmp_path, write(tmp_path, Step("fail", plugin.Fail())), stdin=subprocess.DEVNULL)
    finish(worker)
    assert (tmp_path / "message").read_text() == "the stage failed\n"


def test_error_is_one_line_and_a_bug_keeps_its_traceback(tmp_path: Path, plugin: Any) -> None:
    worker = work(tmp_path, write(tmp_path, Step("fail", plugin.Fail())))
    out, err = finish(worker)
    assert (worker.returncode, out, err) == (1, "[ 1/1] fail\n", "the stage failed\n")
    worker = work(tmp_path, write(tmp_path, Step("crash", plugin.Crash())))
    out, err = finish(worker)
    assert worker.returncode == 1
    assert "ZeroDivisionError: a bug" in err
    assert "Traceback" in err


def test_package_outside_plugins_is_rejected(tmp_path: Path, plugin: Any) -> None:
    job = write(tmp_path, Step("fail", plugin.Fail()))
    job.write_text(json.dumps({**json.loads(job.read_text()), "plugins": []}))
    worker = work(tmp_path, job)
    _, err = finish(worker)
    assert worker.returncode == 1
    assert "sleepy" in err
    assert "the stage failed" not in err


def test_sigterm_leaves_no_partial_artifact(tmp_path: Path, plugin: Any) -> None:
    step = Step("sleep", plugin.Sleep(marker=str(tmp_path / "marker")))
    worker = work(tmp_path, write(tmp_path, step))
    wait_for(tmp_path / "marker")
    worker.send_signal(signal.SIGINT)  # the runner handles the terminal's Ctrl-C
    time.sleep(0.2)
    assert worker.poll() is None
    worker.terminate()
    worker.wait(timeout=10)
    assert worker.returncode == 143
    assert not list((tmp_path / "store" / "sleep").iterdir())
    os.killpg(worker.pid, signal.SIGKILL)  # the stage's child, which the runner normally ends
    finish(worker)


def test_worker_and_children_exit_with_the_runner(tmp_path: Path, plugin: Any) -> None:
    step = Step("sleep", plugin.Sleep(marker=str(tmp_path / "marker")))
    worker = work(tmp_path, write(tmp_path, step))
    child = wait_for(tmp_path / "marker")
    assert is_running(child)
    assert worker.stdin is not None
    worker.stdin.close()
    worker.stdin = None
    worker.communicate(timeout=5)  # returns once the child has closed its output too
    assert worker.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)
    assert Store(tmp_path / "store").record(step) is None


def test_worker_runs_without_a_runner(tmp_path: Path, plugin: Any) -> None:
    """A cluster starts the same command without standard input."""
    worker = work(tmp_path, write(tmp_path, Step("fail", plugin.Fail())), stdin=subprocess.DEVNULL)
    _, err = finish(worker)
    assert err == "the stage failed\n"
