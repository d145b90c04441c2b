"""SIGTERM, as on a preempted spot machine, loses no training step."""

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(os.name != "posix", reason="signals")]


def read(runner: "subprocess.Popen[str]", until: str | None = None) -> str:
    """Return the output up to a pattern, or to its end."""
    assert runner.stdout is not None
    text, deadline = "", time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([runner.stdout], [], [], 1.0)
        chunk = os.read(runner.stdout.fileno(), 4096).decode() if ready else None
        if chunk == "":
            return text
        text += chunk or ""
        if until is not None and re.search(until, text):
            return text
    raise AssertionError(text)


@pytest.mark.slow
def test_sigterm_saves_the_current_training_step(
    start: Callable[..., "subprocess.Popen[str]"], built_tiny: Path, tmp_path: Path
) -> None:
    never = "training.checkpoint_every_steps=100000"
    runner = start(tmp_path, "+recipe=tiny", never)
    read(runner, r"step 24/120")
    runner.send_signal(signal.SIGTERM)
    output = read(runner)
    assert runner.wait(60) == 143
    saved = re.search(r"SIGTERM.* step (\d+)", output)
    assert saved is not None, output
    assert "\n  run +recipe=tiny" in output
    assert "Traceback" not in output
    again = start(tmp_path, "+recipe=tiny", never)
    output = read(again)
    assert again.wait(60) == 0, output
    first = re.search(r"step (\d+)/120", output)
    assert first is not None
    assert int(first[1]) > int(saved[1])
    logs = [next((f / ".gitune/store/tune").glob("*/log.jsonl")).read_text() for f in (tmp_path, built_tiny)]
    assert logs[0] == logs[1]
    tuned = [
        json.loads(next((folder / ".gitune/store/tune").glob("*/artifact.json")).read_text())["files"]
        for folder in (tmp_path, built_tiny)
    ]
    digests = [{name: file["sha256"] for name, file in files.items()} for files in tuned]
    assert digests[0] == digests[1]
