"""What a second run costs when nothing changed, and what changes cost."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import RUN, bare_hydra, build, compared


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield a finished recipe's second run against the floor, in CPU seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build("tiny", folder)
        commands = {"floor": bare_hydra(folder), "again": [*RUN, "+recipe=tiny"]}
        seconds = compared(commands, folder, times=7)
    yield "second run +recipe=tiny / bare Hydra --help", seconds["again"] / seconds["floor"], 3.0
