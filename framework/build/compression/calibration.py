"""The rows that a method calibrates on: training rows, chosen without chance.

Knows what the encode step writes; knows no method.
"""

import json
from pathlib import Path
from typing import Any

from framework.build.training.batches import read_examples
from framework.core.errors import StepError

TRAIN = "train"
DECISIONS = "compression.json"


def spread(rows: int, count: int) -> list[int]:
    """Return *count* numbers of *rows*, evenly spread; all of them where there are fewer.

    >>> spread(10, 4), spread(3, 8)
    ([0, 2, 5, 7], [0, 1, 2])
    """
    taken = min(rows, count)
    return [place * rows // taken for place in range(taken)]


def calibration_rows(data: Path, count: int) -> tuple[list[int], list[list[int]]]:
    """Return the numbers of *count* training rows and their token ids, each row prompt and answer together.

    Args:
        data: the folder of the encode step.
        count: rows that are asked for; where there are fewer, all are taken.

    Raises:
        StepError: there are no training rows.
    """
    examples = read_examples(data / TRAIN) if (data / TRAIN).is_dir() else ()
    numbers = [number for number in spread(len(examples), count) if len(examples[number][0])]
    if not numbers:
        raise StepError(
            "compression: there are no training rows to calibrate on; give rows to data=<option>, or choose "
            "a method that needs none, such as compression=int8-dynamic"
        )
    return numbers, [examples[number][0].tolist() for number in numbers]


def write_decisions(output: Path, **decided: Any) -> None:
    """Write what was decided on the way to ``compression.json`` in *output*, for the report."""
    (output / DECISIONS).write_text(json.dumps(decided, indent=2, sort_keys=True) + "\n", encoding="utf-8")
