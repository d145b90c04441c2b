"""Batches: from prepared token ids to tensors, in an order that the seed decides."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.data.token_shards import TokenRows
from framework.build.task import Batch, Example, Task

if TYPE_CHECKING:
    import numpy as np


def read_examples(folder: Path) -> Sequence[Example]:
    """Open the encoded rows of a split, such as ``<output of encode>/train``; each is read when asked for.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return TokenRows(folder)


def model_inputs(batch: Batch) -> Batch:
    """Return what the task made of *batch*, without what ``Batches`` adds to it."""
    return {name: value for name, value in batch.items() if name not in ("rows", "tokens", "weight")}


class RowOrder:
    """An endless order of row numbers, a pass after the other, each shuffled by the seed and its number."""

    def __init__(self, rows: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        self._passes: dict[int, np.ndarray] = {}

    def __getitem__(self, places: slice) -> list[int]:
        """Return the rows at *places*, counted from the start of the first pass."""
        return [
            int(self._of_pass(place // self.rows)[place % self.rows])
            for place in range(places.start, places.stop)
        ]

    def _of_pass(self, number: int) -> "np.ndarray":
        import numpy as np

        if number not in self._passes:
            shuffled = np.random.default_rng([self.seed, number]).permutation(self.rows)
            # A step may reach over the end of one pass into the next; older ones are done with.
            self._passes = {n: order for n, order in self._passes.items() if n == number - 1} | {
                number: shuffled
            }
        return self._passes[number]


class Batches:
    """Micro batches for one rank, without end; training decides how many it takes.

    An optimiser step has ``micro_batch_size * accumulation * ranks`` rows of the order, whatever the
    three are: so another layout sees the same rows in each step. Besides what the task's ``collate``
    gives, a batch has ``rows`` (the row numbers), ``tokens`` and ``weight``: the labels with a loss in
    the whole step over all ranks, by which each micro batch divides its summed loss.

    ``taken`` counts the batches that training has had; an iteration goes on from there. That one number
    brings a resumed run back to the very rows that it would have seen.
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
        held, kept = _split(len(examples), validation, seed)
        self.validation = sorted(held, key=lambda row: (len(examples[row][0]), row))
        """The numbers of the rows that are never trained on, the shortest first."""
        self.kept = kept
        self.order = RowOrder(len(kept), seed)
        self.weights = np.fromiter((task.weight(labels) for _, labels, *_ in examples), np.int64)
        self.text = text
        """The folder with the rows' shards, such as ``<output of encode>/train``, for messages."""
        self.taken = 0

    def __iter__(self) -> Iterator[Batch]:
        # Lightning fetches one batch ahead of the one that is trained on, so ``taken`` lags behind.
        for place in count(self.taken):
            yield self.at(place)

    def at(self, taken: int) -> Batch:
        """Return the micro batch that comes after *taken* others."""
        step, index = divmod(taken, self.accumulation)
        size = self.micro_batch_size
        rows_a_step = size * self.accumulation * self.ranks
        places = self.order[step * rows_a_step : (step + 1) * rows_a_step]
        rows = [self.kept[place] for place in places]
        first = (index * self.ranks + self.rank) * size
        return self.of(rows[first : first + size], int(self.weights[rows].sum()))

    def held_back(self) -> Iterator[Batch]:
        """Yield the rows of ``validation`` once, as micro batches."""
        for start in range(0, len(self.validation), self.micro_batch_size):
            yield self.of(self.validation[start : start + self.micro_batch_size])

    def of(self, rows: list[int], weight: int | None = None) -> Batch:
        """Return the micro batch of just *rows*; *weight* is that of their step, by default their own."""
        chosen = [self.examples[row] for row in rows]
        return {
            **self.task.collate(chosen, self.pad, self.packed),
            "rows": rows,
            "tokens": sum(len(ids) for ids, *_ in chosen),
            "weight": int(self.weights[rows].sum()) if weight is None else weight,
        }


def _split(rows: int, held: int, seed: int) -> tuple[list[int], Sequence[int]]:
    """Draw *held* of *rows* numbers by *seed*; return them and the others, which keep their order."""
    import numpy as np

    if not held:
        return [], range(rows)
    # No pass of RowOrder draws from this stream: their seeds have two numbers.
    drawn = set(np.random.default_rng([seed, 0, 1]).permutation(rows)[:held].tolist())
    return sorted(drawn), [row for row in range(rows) if row not in drawn]
