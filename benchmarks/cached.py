"""Overhead of a second run when nothing has changed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import RUN, bare_hydra, build, compared


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield the CPU seconds of a finished recipe's second run, relative to the floor."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build("tiny", folder)
        commands = {"floor": bare_hydra(folder), "again": [*RUN, "+recipe=tiny"]}
        seconds = compared(commands, folder, times=7)
    yield "second run +recipe=tiny / bare Hydra --help", seconds["again"] / seconds["floor"], 3.0
