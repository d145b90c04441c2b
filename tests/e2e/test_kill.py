"""A runner that is killed at any point, then started again, makes the same release."""

import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[str]"]
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name != "posix", reason="signals")]
EXIT_SECONDS = 5.0
"""Seconds after a kill in which all processes of the runner must exit."""


def digest(folder: Path) -> str:
    lock = folder / "environments" / "dev" / "tiny" / "release.lock"
    value: str = json.loads(lock.read_text())["digest"]
    return value


def unfinished(folder: Path) -> list[Path]:
    return list((folder / ".gitune" / "store").glob("*/.building-*"))


def finish(runner: "subprocess.Popen[str]", seconds: float) -> str:
    """Read the output to its end, when the last process that holds the pipe exits."""
    assert runner.stdout is not None
    output, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        readable, _, _ = select.select([runner.stdout], [], [], max(0.0, deadline - time.monotonic()))
        text = os.read(runner.stdout.fileno(), 65536) if readable else b""
        if readable and not text:
            runner.stdout.close()
            runner.wait(timeout=seconds)
            return "".join(output)
        output.append(text.decode())
    raise AssertionError(f"still running after {seconds} s:\n{''.join(output)}")


def read_until(runner: "subprocess.Popen[str]", pattern: str) -> bool:
    """Read the output until it matches the pattern; return whether it did before its end."""
    assert runner.stdout is not None
    text, deadline = "", time.monotonic() + 120
    while time.monotonic() < deadline:
        chunk = os.read(runner.stdout.fileno(), 4096).decode()
        if not chunk:
            return False
        text += chunk
        if re.search(pattern, text, re.MULTILINE):
            return True
    raise AssertionError(f"no '{pattern}' in:\n{text}")


def kill_at(start: Start, folder: Path, pattern: str, delay: float = 0.0) -> bool:
    """Run, kill -9 once the output matches the pattern, and check that all processes exit."""
    runner = start(folder, "+recipe=tiny")
    seen = read_until(runner, pattern)
    time.sleep(delay)
    runner.kill()
    finish(runner, EXIT_SECONDS)
    return seen


def assert_same_release(start: Start, folder: Path, built_tiny: Path) -> None:
    runner = start(folder, "+recipe=tiny")
    output = finish(runner, 120)
    assert runner.returncode == 0, output
    assert digest(folder) == digest(built_tiny)
    assert unfinished(folder) == []
    assert list((folder / ".gitune" / "store" / "scratch").iterdir()) == []


@pytest.mark.slow
def test_kill_9_in_every_step(start: Start, built_tiny: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for number in range(1, 16):
        kill_at(start, tmp_path, rf"^\[{number:2}/15\]", delay=rng.choice((0.0, 0.02, 0.1, 0.5)))
    assert_same_release(start, tmp_path, built_tiny)


@pytest.mark.slow
def test_kill_9_at_any_time(start: Start, built_tiny: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(10):
        runner = start(tmp_path, "+recipe=tiny")
        time.sleep(rng.uniform(0.1, 8))
        runner.kill()
        finish(runner, EXIT_SECONDS)
    assert_same_release(start, tmp_path, built_tiny)


@pytest.mark.slow
def test_killed_training_resumes_from_its_checkpoint(start: Start, built_tiny: Path, tmp_path: Path) -> None:
    assert kill_at(start, tmp_path, r"step 72/120")
    runner = start(tmp_path, "+recipe=tiny")
    output = finish(runner, 120)
    assert runner.returncode == 0, output
    steps = [int(step) for step in re.findall(r"step (\d+)/120", output)]
    assert steps[0] > 60  # a checkpoint is written every ten steps
    logs = [next((f / ".gitune/store/tune").glob("*/log.jsonl")).read_text() for f in (tmp_path, built_tiny)]
    assert logs[0] == logs[1]
    assert digest(tmp_path) == digest(built_tiny)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_signal_ends_the_children_and_prints_the_resume_command(
    start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    runner = start(tmp_path, "+recipe=tiny", "seed=3")
    assert read_until(runner, r"step 24/120")
    runner.send_signal(number)
    output = finish(runner, 10)
    assert runner.returncode == 128 + number
    assert f"Stopped by {number.name}" in output
    assert "\n  run +recipe=tiny seed=3\n" in output
    assert "Traceback" not in output
    assert unfinished(tmp_path) == []
    assert list((tmp_path / ".gitune" / "store" / "jobs").iterdir()) == []
    assert not (tmp_path / "environments").exists()


def test_ctrl_c_during_composition_prints_no_traceback(start: Start, tmp_path: Path) -> None:
    """The signal arrives before the worker starts, when Hydra has made the folder of this run."""
    runner = start(tmp_path, "+recipe=tiny")
    deadline = time.monotonic() + 60
    while not (tmp_path / ".gitune").exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    runner.send_signal(signal.SIGINT)
    output = finish(runner, 15)
    assert runner.returncode == 130, output
    assert "Traceback" not in output
    assert "\n  run +recipe=tiny\n" in output
    assert unfinished(tmp_path) == []


def test_repeated_ctrl_c_is_reported_once(start: Start, tmp_path: Path) -> None:
    runner = start(tmp_path, "+recipe=tiny")
    assert read_until(runner, r"^\[ 1/15\]")
    for _ in range(3):
        runner.send_signal(signal.SIGINT)
        time.sleep(0.05)
    output = finish(runner, 15)
    assert runner.returncode == 130
    assert output.count("Stopped by SIGINT") == 1
    assert "Traceback" not in output


def test_killed_worker_is_explained(start: Start, tmp_path: Path) -> None:
    runner = start(tmp_path, "+recipe=tiny")
    assert read_until(runner, r"step 24/120")
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children").read_text().split()
    assert len(children) == 1
    os.kill(int(children[0]), signal.SIGKILL)
    output = finish(runner, 10)
    assert runner.returncode == 1
    assert "SIGKILL" in output
    assert "  run +recipe=tiny\n" in output
    assert unfinished(tmp_path) == []


@pytest.mark.slow
def test_two_runners_on_one_store_both_succeed(start: Start, built_tiny: Path, tmp_path: Path) -> None:
    runners = [start(tmp_path, "+recipe=tiny") for _ in range(2)]
    outputs = [finish(runner, 180) for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0], outputs
    assert any("another runner" in output for output in outputs)
    trained = [re.findall(r"step (\d+)/120", output) for output in outputs]
    assert sorted(map(len, trained)) == [0, 10]  # only one of them trained
    assert digest(tmp_path) == digest(built_tiny)
    assert unfinished(tmp_path) == []
    assert len(list((tmp_path / ".gitune" / "store").glob("*/*/artifact.json"))) == 15


@pytest.mark.slow
def test_second_runner_takes_over_from_a_killed_one(start: Start, built_tiny: Path, tmp_path: Path) -> None:
    first = start(tmp_path, "+recipe=tiny")
    assert read_until(first, r"^\[ 5/15\]")
    second = start(tmp_path, "+recipe=tiny")
    assert read_until(second, "another runner|train|step")
    first.kill()
    finish(first, EXIT_SECONDS)
    output = finish(second, 120)
    assert second.returncode == 0, output
    assert digest(tmp_path) == digest(built_tiny)


@pytest.mark.slow
def test_interrupted_step_of_an_old_config_is_removed(start: Start, built_tiny: Path, tmp_path: Path) -> None:
    """Unfinished folders of a config that is never run again are removed by any run."""
    folder = tmp_path / "work"
    shutil.copytree(built_tiny, folder)
    runner = start(folder, "+recipe=tiny", "training.learning_rate=1e-3")
    assert read_until(runner, r"step 24/120")
    runner.kill()
    finish(runner, EXIT_SECONDS)
    assert unfinished(folder) != []
    runner = start(folder, "+recipe=tiny", "gates.perplexity.max=50")
    output = finish(runner, 60)
    assert runner.returncode == 0, output
    assert unfinished(folder) == []
