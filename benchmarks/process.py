"""Time whole commands in turn, so that a slow phase of the machine affects all of them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

RUN = [sys.executable, "-m", "framework.cli.main"]

BARE_APP = """
import hydra
@hydra.main(version_base="1.3", config_path=None)
def app(config): print(config)
app()
"""


def bare_hydra(folder: Path) -> list[str]:
    """Return the floor: ``--help`` of a minimal Hydra program."""
    (folder / "bare.py").write_text(BARE_APP)
    return [sys.executable, str(folder / "bare.py"), "--help"]


def cpu_seconds(command: Sequence[str], folder: Path) -> float:
    """Return user and system seconds of one run of *command* and its children."""
    before = os.times()
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment())
    after = os.times()
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system


def compared(commands: Mapping[str, Sequence[str]], folder: Path, times: int) -> dict[str, float]:
    """Return the median CPU seconds of each command, run in turn *times* times after one warm-up."""
    measured: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(times + 1):
        for name, command in commands.items():
            seconds = cpu_seconds(command, folder)
            if turn:
                measured[name].append(seconds)
    return {name: median(values) for name, values in measured.items()}


def build(recipe: str, folder: Path) -> float:
    """Build *recipe* in *folder*, showing its progress; return the wall seconds."""
    started = time.monotonic()
    subprocess.run([*RUN, f"+recipe={recipe}"], cwd=folder, check=True, env=environment())
    return time.monotonic() - started


def artifacts(folder: Path) -> list[dict[str, Any]]:
    """Return the record of every step built in *folder*."""
    records = (folder / ".gitune" / "store").glob("*/*/artifact.json")
    return [json.loads(file.read_text(encoding="utf-8")) for file in records]


def environment() -> dict[str, str]:
    """Return environment variables that make this checkout importable from any folder."""
    root = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
