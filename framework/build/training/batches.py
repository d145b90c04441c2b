"""Micro batches: encoded rows as padded or packed tensors, in an order that the seed determines."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.data.token_shards import TokenRows
from framework.build.task import Batch, Example, Task
from framework.build.task.selected_rows import SelectedRows

if TYPE_CHECKING:
    import numpy as np


def read_examples(folder: Path) -> Sequence[Example]:
    """Open the encoded rows of a split, such as ``<output of encode>/train``; each is read when asked for.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return TokenRows(folder)


def model_inputs(batch: Batch) -> Batch:
    """Return the tensors that the task's ``collate`` returned, without what ``Batches`` adds."""
    return {name: value for name, value in batch.items() if name not in ("rows", "tokens", "weight")}


class RowOrder:
    """An endless sequence of row numbers: passes that the seed and their number shuffle."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        self._passes: dict[int, np.ndarray] = {}

    def __getitem__(self, positions: slice) -> list[int]:
        """Return the rows at *positions*, counted from the start of the first pass."""
        return [
            int(self._shuffled(position // self.rows)[position % self.rows])
            for position in range(positions.start, positions.stop)
        ]

    def _shuffled(self, number: int) -> "np.ndarray":
        import numpy as np

        if number not in self._passes:
            shuffled = np.random.default_rng([self.seed, number]).permutation(self.rows)
            # A step may span the end of one pass and the start of the next; older passes are not needed.
            self._passes = {n: order for n, order in self._passes.items() if n == number - 1} | {
                number: shuffled
            }
        return self._passes[number]


class Batches:
    """An endless sequence of micro batches for one rank.

    An optimizer step always takes the next ``micro_batch_size * accumulation * ranks`` rows of the order,
    so every layout sees the same rows in each step. A batch has the tensors of the task's ``collate``, and
    ``rows`` (the row numbers), ``tokens`` and ``weight``. The weight is the number of labels with a loss in
    the whole step, over all ranks: each micro batch divides its summed loss by it.

    ``taken`` counts the batches that training has used, and iteration starts there. This number alone
    brings a resumed run back to the same rows.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        task: Task,
        micro_batch_size: int,
        accumulation: int,
        seed: int,
        *,
        pad: int = 0,
        packed: bool = False,
        rank: int = 0,
        ranks: int = 1,
        text: Path | None = None,
        validation: int = 0,
    ) -> None:
        import numpy as np

        self.examples = examples
        self.task = task
        self.micro_batch_size = micro_batch_size
        self.accumulation = accumulation
        self.pad = pad
        self.packed = packed
        self.rank = rank
        self.ranks = ranks
        held_out, trained = _split(len(examples), validation, seed)
        self.validation = sorted(held_out, key=lambda row: (len(examples[row][0]), row))
        """The numbers of the held-out rows, the shortest first."""
        self.trained = trained
        """The numbers of the other rows, in order."""
        self.order = RowOrder(len(trained), seed)
        self.weights = np.fromiter((task.weight(labels) for _, labels, *_ in examples), np.int64)
        self.text = text
        """The folder with the rows' shards, such as ``<output of encode>/train``, for messages."""
        self.taken = 0

    def __iter__(self) -> Iterator[Batch]:
        # Lightning prefetches one batch, so ``taken`` lags behind.
        for index in count(self.taken):
            yield self.at(index)

    def at(self, taken: int) -> Batch:
        """Return the micro batch after the first *taken*."""
        step, index = divmod(taken, self.accumulation)
        size = self.micro_batch_size
        rows_a_step = size * self.accumulation * self.ranks
        positions = self.order[step * rows_a_step : (step + 1) * rows_a_step]
        rows = [self.trained[position] for position in positions]
        first = (index * self.ranks + self.rank) * size
        return self.of(rows[first : first + size], int(self.weights[rows].sum()))

    def held_out(self) -> Iterator[Batch]:
        """Yield the held-out rows once, as micro batches."""
        for start in range(0, len(self.validation), self.micro_batch_size):
            yield self.of(self.validation[start : start + self.micro_batch_size])

    def stored(self, row: int) -> int:
        """Return the number that *row* has in ``text``."""
        return self.examples.numbers[row] if isinstance(self.examples, SelectedRows) else row

    def of(self, rows: list[int], weight: int | None = None) -> Batch:
        """Return the micro batch of *rows*; *weight* is their step's, by default their own."""
        chosen = [self.examples[row] for row in rows]
        return {
            **self.task.collate(chosen, self.pad, self.packed),
            "rows": rows,
            "tokens": sum(len(ids) for ids, *_ in chosen),
            "weight": int(self.weights[rows].sum()) if weight is None else weight,
        }


def _split(rows: int, size: int, seed: int) -> tuple[list[int], Sequence[int]]:
    """Draw *size* of *rows* numbers by *seed*; return them and the others, both sorted."""
    import numpy as np

    if not size:
        return [], range(rows)
    # RowOrder never draws from this stream: its seeds have two numbers.
    drawn = set(np.random.default_rng([seed, 0, 1]).permutation(rows)[:size].tolist())
    return sorted(drawn), [row for row in range(rows) if row not in drawn]
