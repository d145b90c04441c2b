"""Start-up time of the command line, relative to ``--help`` of a minimal Hydra program."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process import RUN, bare_hydra, compared


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield the CPU seconds of ``run --help`` and ``run plan``, relative to the floor."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = {
            "floor": bare_hydra(folder),
            "help": [*RUN, "--help"],
            "plan": [*RUN, "plan", "+recipe=quickstart"],
        }
        seconds = compared(commands, folder, times=7)
    yield "run --help / bare Hydra --help", seconds["help"] / seconds["floor"], 1.5
    yield "run plan +recipe=quickstart / bare Hydra --help", seconds["plan"] / seconds["floor"], 2.5
