"""How many rows data has, guessed before it is read.

Knows files and their sizes; knows no format.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from framework.core.workload import GUESSED_ROWS, MANY_ROWS, DataSize

_BYTES_PER_TOKEN = 4
_SAMPLE = 2**20

UNSEEN = DataSize(GUESSED_ROWS, MANY_ROWS, GUESSED_ROWS, math.inf)
"""The size of a source that is not on this machine: nothing but a limit on the steps is known."""


def size_of_files(files: Sequence[Path]) -> DataSize:
    """Guess from the sizes of *files*, one or more; a tenth of the rows counts as held out.

    Most formats have one row a line.
    """
    row = _mean_line(files[0])
    rows = sum(file.stat().st_size for file in files) / row
    return DataSize(rows, rows, rows / 10, row / _BYTES_PER_TOKEN)


def _mean_line(file: Path) -> float:
    """Return the mean bytes of a line, at least one, from the first of them."""
    with file.open("rb") as stream:
        sample = stream.read(_SAMPLE)
    return max(len(sample), 1) / max(sample.count(b"\n"), 1)
