"""Stops training where its numbers make no sense, and finds the row that is behind it."""

import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from framework.build.data.shards import read_row
from framework.build.task import LABEL_MASK, Batch
from framework.build.training import Training
from framework.build.training.batches import Batches
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor

_REMEMBERED = 50
"""Steps whose gradient norms are compared with the next."""
_FIRST = 20
"""Steps before norms are compared at all."""
_ROWS_AT_ONCE = 4096
"""Rows whose tokens are checked together."""
_SHOWN = 60
"""Characters of a row in a message."""


class Guard:
    """Watches one training run. ``norms`` is all that it remembers, and belongs into a checkpoint."""

    def __init__(self, training: Training, batches: Callable[[], Batches], alone: bool) -> None:
        self.training = training
        self.batches = batches
        """Gives the rows, once something is wrong."""
        self.alone = alone
        """Whether this process has the whole model, so that it may compute a row by itself."""
        self.norms: deque[float] = deque(maxlen=_REMEMBERED)
        self.rows: list[int] = []
        """The rows of the step so far."""

    def check_weight(self, batch: Batch, step: int) -> None:
        """Raise ``StepError`` if the step of *batch* has no label that carries a loss."""
        if not batch["weight"]:
            rows = _named(batch["rows"], self.batches())
            raise StepError(
                f"tune: no label of step {step} carries a loss, in none of {rows}; "
                "raise data.max_length if answers were cut off, or training.gradient_accumulation_steps"
            )

    def check_loss(self, loss: float, rows: Sequence[int], step: int, alone: "Loss") -> None:
        """Raise ``StepError`` if *loss*, that of *rows*, is not a finite number.

        Args:
            loss: of the micro batch.
            rows: their numbers.
            step: the optimiser step, from 1.
            alone: computes the loss of a batch again, a scalar.
        """
        self.rows += rows
        if math.isfinite(loss):
            return
        batches = self.batches()
        guilty = (
            [row for row in rows if not math.isfinite(float(alone(batches.of([row]))))] if self.alone else []
        )
        raise StepError(
            f"tune: the loss became {loss} at step {step}, {_because(guilty, rows, batches)}; "
            f"lower training.learning_rate (now {self.training.learning_rate:g}), "
            "set training.precision=fp32, or mend the row"
        )

    def check_norm(self, norm: float, step: int, row_norm: "Loss") -> None:
        """Raise ``StepError`` if the gradient's *norm* is no finite number or far above what it was.

        Args:
            norm: before clipping.
            step: the optimiser step, from 1.
            row_norm: computes the norm of a batch's own gradient.
        """
        rows, self.rows = self.rows, []
        growth, usual = self.training.max_gradient_growth, median(self.norms) if self.norms else 0.0
        bound = max(usual, self.training.gradient_clipping or 1.0) * growth
        if math.isfinite(norm) and not (growth and len(self.norms) >= _FIRST and norm > bound):
            self.norms.append(norm)
            return
        if not math.isfinite(norm) and self.training.precision == "fp16":
            return  # the scaler leaves this step out and scales less
        guilty, batches = [], self.batches()
        if self.alone:
            found = {row: float(row_norm(batches.of([row]))) for row in rows}
            worst = max(found, key=lambda row: found[row] if math.isfinite(found[row]) else math.inf)
            guilty = [row for row in rows if not math.isfinite(found[row])] or [worst]
        was, allow = f"became {norm}", ""
        if math.isfinite(norm):
            was = f"grew to {norm:.3g}, usually {usual:.3g},"
            allow = f", or allow it with training.max_gradient_growth={_rounded_up(norm / max(usual, 1e-9))}"
        raise StepError(
            f"tune: the gradient's norm {was} at step {step}, {_because(guilty, rows, batches)}; lower "
            f"training.learning_rate (now {self.training.learning_rate:g}) or mend the row{allow}"
        )


Loss = Callable[[Batch], "Tensor | float"]


def refuse_too_few(training: Training, rows: int) -> None:
    """Raise ``StepError`` if validation leaves none of *rows* to train on."""
    if training.validation.count(rows) >= rows:
        raise StepError(
            f"training.validation.rows: {training.validation.count(rows)} of {rows} training rows are held "
            f"back, which leaves none; set training.validation.rows={rows // 10}"
        )


def check_rows(batches: Batches, model: Any) -> None:
    """Raise ``StepError`` if a row of *batches* has a token or a label that *model* does not have."""
    import torch

    tokens = len(model.get_input_embeddings().weight)
    choices = tokens if batches.task.generates else max(model.config.num_labels, 2)
    examples, first = iter(batches.examples), 0
    while chunk := list(itertools.islice(examples, _ROWS_AT_ONCE)):
        for part, what, size in ((0, "token", tokens), (1, "label", choices)):
            values = torch.cat([example[part] for example in chunk])
            wrong = (values >= size) | ((values < 0) & (values != LABEL_MASK))
            if not bool(wrong.any()):
                continue
            place = int(wrong.nonzero()[0, 0])
            ends = list(itertools.accumulate(len(example[part]) for example in chunk))
            row = first + next(number for number, end in enumerate(ends) if place < end)
            raise StepError(
                f"tune: {what} {int(values[place])} of {_named([row], batches)} is outside the model's 0 to "
                f"{size - 1}; use the data of this model's own tokenizer and model.labels, or fix the row"
            )
        first += len(chunk)


def _because(guilty: Sequence[int], rows: Sequence[int], batches: Batches) -> str:
    if guilty:
        return f"because of {_named(guilty, batches)}"
    return f"in {_named(rows, batches)}, of which none does it alone"


def _named(rows: Sequence[int], batches: Batches) -> str:
    """Name *rows* by their number among the encoded rows, from 1, with the first one's text."""
    numbers = ", ".join(str(row + 1) for row in rows[:8]) + (", …" if len(rows) > 8 else "")
    text = _text(rows[0], batches) if len(rows) == 1 else ""
    return f"training row{'s' if len(rows) > 1 else ''} {numbers}" + (f" ({text})" if text else "")


def _text(row: int, batches: Batches) -> str:
    if batches.text is None:
        return ""
    line = read_row(batches.text, row)
    shown = json.dumps(json.loads(line), ensure_ascii=False) if line else ""
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _rounded_up(ratio: float) -> int:
    """Return the power of ten above *ratio*.

    >>> _rounded_up(301 / 2)
    1000
    """
    return int(10 ** math.ceil(math.log10(ratio) + 0.1))
