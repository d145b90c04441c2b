"""Choose calibration rows from the training data, deterministically.

Knows the layout of the encode step; knows no compression method.
"""

import json
from pathlib import Path
from typing import Any

from framework.build.compression import Exported
from framework.build.task import open_task
from framework.build.training.batches import read_examples
from framework.core.errors import StepError

TRAIN = "train"
DECISIONS = "compression.json"


def spread(rows: int, count: int) -> list[int]:
    """Return *count* evenly spaced row numbers below *rows*; all of them if there are fewer.

    >>> spread(10, 4), spread(3, 8)
    ([0, 2, 5, 7], [0, 1, 2])
    """
    count = min(rows, count)
    return [index * rows // count for index in range(count)]


def calibration_rows(exported: Exported, count: int) -> tuple[list[int], list[list[int]]]:
    """Return the row numbers of *count* training rows and their token ids; see ``Task.read_together``.

    Args:
        exported: its ``data`` has the rows.
        count: number of rows; all rows are returned if there are fewer.

    Raises:
        StepError: there are no training rows.
    """
    folder, task = exported.data / TRAIN, open_task(exported.model.task)
    examples = read_examples(folder) if folder.is_dir() else ()
    numbers = [number for number in spread(len(examples), count) if len(examples[number][0])]
    if not numbers:
        raise StepError(
            "compression: no training rows to calibrate on; provide training rows, or use a method without "
            "calibration: set compression=int8-dynamic"
        )
    return numbers, [task.read_together(examples[number]) for number in numbers]


def write_decisions(output: Path, **decided: Any) -> None:
    """Write the decisions of a compression to ``compression.json`` in *output*, for the report."""
    (output / DECISIONS).write_text(json.dumps(decided, indent=2, sort_keys=True) + "\n", encoding="utf-8")
