import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from framework.core.errors import StepError, StoreError
from framework.core.step import Stage, Step, Workspace
from framework.core.store import RECORD, Store

ROOT = Path(__file__).parents[3]


class Write(Stage):
    name: ClassVar[str] = "write"
    version: ClassVar[int] = 1
    runs: ClassVar[list[str]] = []

    text: str = "hello"

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        self.runs.append(self.text)
        assert not list(output.iterdir())
        (output / "deep").mkdir()
        (output / "deep" / "file.txt").write_text(self.text)
        (output / "inputs.json").write_text(json.dumps(sorted(inputs)))


class Break(Stage):
    name: ClassVar[str] = "break"
    version: ClassVar[int] = 1
    error: ClassVar[BaseException]

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        (output / "half.bin").write_bytes(b"half")
        (workspace.scratch / "last.ckpt").write_bytes(b"resume")
        raise self.error


@pytest.fixture(autouse=True)
def _count() -> None:
    Write.runs.clear()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def leftovers(store: Store) -> list[Path]:
    return [*store.root.glob("*/.building-*"), *(store.root / "scratch").glob("*")]


def test_step_is_built_once(store: Store) -> None:
    step = Step("write", Write())
    first = store.build(step)
    again = store.build(Step("another label", Write()))
    assert first == again == store.root / "write" / step.key
    assert Write.runs == ["hello"]
    assert (first / "deep" / "file.txt").read_text() == "hello"
    assert leftovers(store) == []


def test_record_names_inputs_files_and_costs(store: Store) -> None:
    source = Step("source", Write(text="a"))
    step = Step("write", Write(text="b"), {"from": source})
    store.build(source)
    record = json.loads((store.build(step) / RECORD).read_text())
    assert record["identity"]["inputs"] == {"from": source.key}
    assert set(record["files"]) == {"deep/file.txt", "inputs.json"}
    assert record["files"]["deep/file.txt"]["size"] == 1
    assert record["seconds"] >= 0
    assert 0 <= record["cpu_seconds"] < 60
    assert record["peak_memory_bytes"] > 2**20


def test_input_that_is_not_built_is_named(store: Store) -> None:
    step = Step("write", Write(), {"from": Step("the source", Write(text="a"))})
    with pytest.raises(StoreError, match="write: its input 'the source' is not in the store"):
        store.build(step)


def test_failed_step_leaves_no_artifact_and_keeps_scratch(store: Store) -> None:
    step = Step("break", Break())
    for error in (StepError("the reason"), ValueError("a fault"), SystemExit(143), KeyboardInterrupt()):
        Break.error = error
        with pytest.raises(type(error)):
            store.build(step)
        assert not store.folder(step).exists()
        assert store.record(step) is None
        assert list(store.root.glob("*/.building-*")) == []
        assert (store.root / "scratch" / step.key / "last.ckpt").read_bytes() == b"resume"


def test_folder_of_a_killed_runner_is_not_an_artifact(store: Store) -> None:
    step = Step("write", Write())
    half = store.root / "write" / f".building-{step.key}"
    half.mkdir(parents=True)
    (half / "deep").write_text("half")
    assert store.record(step) is None
    assert (store.build(step) / "deep" / "file.txt").read_text() == "hello"
    assert leftovers(store) == []


def test_sweep_removes_abandoned_folders(store: Store) -> None:
    from filelock import FileLock

    done, killed, living = (Step(t, Write(text=t)) for t in ("done", "killed", "living"))
    store.build(done)
    for step in (killed, living):
        (store.root / "write" / f".building-{step.key}").mkdir()
    for step in (done, killed):
        (store.root / "scratch" / step.key).mkdir(parents=True)
    with FileLock(store.root / "locks" / f"{living.key}.lock"):
        store.sweep()
    kept = {path.name for path in leftovers(store)}
    assert kept == {f".building-{living.key}", killed.key}  # a killed step's scratch is what it resumes from
    assert store.record(done) is not None


def test_forget_makes_a_step_pending_again(store: Store) -> None:
    step = Step("write", Write())
    store.build(step)
    store.forget(step)
    assert store.record(step) is None
    store.forget(step)
    store.build(step)
    assert Write.runs == ["hello", "hello"]


def test_artifact_that_is_a_link_is_forgotten(store: Store, tmp_path: Path) -> None:
    """Someone moved it to another disk."""
    step = Step("write", Write())
    folder = store.build(step)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    store.forget(step)
    assert store.record(step) is None
    assert leftovers(store) == []
    assert (tmp_path / "elsewhere" / "deep" / "file.txt").is_file()
    store.build(step)
    assert store.record(step) is not None


def truncate(folder: Path) -> None:
    (folder / "deep" / "file.txt").write_text("hell")


def tamper(folder: Path) -> None:
    file = folder / "deep" / "file.txt"
    file.write_text("jello")
    os.utime(file, ns=(1, 1))


def remove(folder: Path) -> None:
    (folder / "inputs.json").unlink()


def add(folder: Path) -> None:
    (folder / "deep" / "more.txt").write_text("")


def remove_record(folder: Path) -> None:
    (folder / RECORD).unlink()


def garble_record(folder: Path) -> None:
    (folder / RECORD).write_text('{"key": ')


def binary_record(folder: Path) -> None:
    (folder / RECORD).write_bytes(b"\xff\xfe\x00")


def foreign_record(folder: Path) -> None:
    (folder / RECORD).write_text(json.dumps({"key": "0" * 64, "files": {}}))


def listed_record(folder: Path) -> None:
    (folder / RECORD).write_text("[]")


def partial_record(folder: Path) -> None:
    body = json.loads((folder / RECORD).read_text())
    del body["files"]["inputs.json"]["sha256"], body["files"]["inputs.json"]["mtime_ns"]
    (folder / RECORD).write_text(json.dumps(body))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (truncate, "deep/file.txt has 4 bytes, recorded 5"),
        (tamper, "deep/file.txt does not match its recorded sha256"),
        (remove, "inputs.json is missing"),
        (add, "deep/more.txt was added"),
        (remove_record, "artifact.json is missing"),
        (garble_record, "artifact.json is not JSON"),
        (binary_record, "artifact.json is not JSON"),
        (foreign_record, "artifact.json does not belong to this step"),
        (listed_record, "artifact.json does not belong to this step"),
        (partial_record, "artifact.json is incomplete"),
    ],
)
def test_altered_artifact_is_refused(store: Store, change: Callable[[Path], None], says: str) -> None:
    step = Step("write", Write())
    folder = store.build(step)
    change(folder)
    for ask in (store.record, store.build):
        with pytest.raises(StoreError) as caught:
            ask(step)
        message = str(caught.value)
        assert message.startswith(f"{folder}: the artifact was altered")
        assert says in message
        assert message.endswith("remove the folder to build it again")
    assert Write.runs == ["hello"]


def test_altered_input_stops_the_next_step(store: Store) -> None:
    source = Step("source", Write(text="a"))
    tamper(store.build(source))
    with pytest.raises(StoreError, match=r"deep/file\.txt has 5 bytes, recorded 1"):
        store.build(Step("write", Write(), {"from": source}))


def test_copying_a_store_keeps_it_valid(store: Store, tmp_path: Path) -> None:
    import shutil

    step = Step("write", Write())
    store.build(step)
    shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copyfile)  # other times, same bytes
    assert Store(tmp_path / "copy").record(step) is not None


TWO = """
import sys, time
from pathlib import Path
from typing import ClassVar
from framework.core.step import Stage, Step
from framework.core.store import Store

class Slow(Stage):
    name: ClassVar[str] = "slow"
    version: ClassVar[int] = 1
    def run(self, inputs, output, workspace):
        with (Path(sys.argv[1]) / "runs").open("a") as stream:
            stream.write("run\\n")
        time.sleep(1.5)
        (output / "a").write_text("a")

step = Step("slow", Slow())
print(Store(Path(sys.argv[1]) / "store").build(step, announce=lambda m: print("says:", m, flush=True)))
"""


def test_two_processes_build_a_step_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert (tmp_path / "runs").read_text() == "run\n"
    assert outputs[0][-1] == outputs[1][-1]  # both were given the same folder
    waited = [line for lines in outputs for line in lines if line.startswith("says:")]
    assert waited == ["says: another runner is on this step; waiting for its result"]


def test_waiting_runner_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    deadline = time.monotonic() + 30
    while not (tmp_path / "runs").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert second.stdout is not None
    assert second.stdout.readline().startswith("says:")
    first.kill()
    first.communicate(timeout=30)
    folder = Path(second.communicate(timeout=60)[0].strip())
    assert second.returncode == 0
    assert (tmp_path / "runs").read_text() == "run\nrun\n"
    assert (folder / "a").read_text() == "a"
