"""Stops training when loss or gradient diverge, and finds the training row that causes it."""

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

_NORM_WINDOW = 50
"""Steps whose median gradient norm the next one is compared with."""
_MIN_NORMS = 20
"""Steps before norms are compared."""
_ROWS_AT_ONCE = 4096
"""Rows whose tokens are checked together."""
_PREVIEW_LENGTH = 60
"""Characters of a row that a message shows."""


class Guard:
    """Checks every step of one training run. ``norms`` is its only state and belongs in a checkpoint."""

    def __init__(self, training: Training, batches: Callable[[], Batches], alone: bool) -> None:
        self.training = training
        self.batches = batches
        """Returns the rows; called only once something is wrong."""
        self.alone = alone
        """Whether this process has the whole model, so it can compute the loss of a single row."""
        self.norms: deque[float] = deque(maxlen=_NORM_WINDOW)
        self.rows: list[int] = []
        """The rows of the current step so far."""

    def check_weight(self, batch: Batch, step: int) -> None:
        """Raise ``StepError`` if no label in the step of *batch* has a loss."""
        if not batch["weight"]:
            rows = _describe(batch["rows"], self.batches())
            raise StepError(
                f"tune: step {step} has no label with a loss, in {rows}; increase data.max_length if "
                "answers were truncated, or training.gradient_accumulation_steps"
            )

    def check_loss(self, loss: float, rows: Sequence[int], step: int, alone: "Loss") -> None:
        """Raise ``StepError`` if *loss* is not finite.

        Args:
            loss: of the micro batch.
            rows: the numbers of its rows.
            step: the optimizer step, from 1.
            alone: recomputes the loss of a batch, a scalar.
        """
        self.rows += rows
        if math.isfinite(loss):
            return
        batches = self.batches()
        causes = []
        if self.alone:
            causes = [row for row in rows if not math.isfinite(float(alone(batches.of([row]))))]
        raise StepError(
            f"tune: the loss became {loss} at step {step}, {_cause(causes, rows, batches)}; "
            f"lower training.learning_rate (now {self.training.learning_rate:g}), "
            "set training.precision=fp32, or fix the row"
        )

    def check_norm(self, norm: float, step: int, row_norm: "Loss") -> None:
        """Raise ``StepError`` if the gradient *norm* is not finite or far above the recent median.

        Args:
            norm: before clipping.
            step: the optimizer step, from 1.
            row_norm: computes the gradient norm of a single batch.
        """
        rows, self.rows = self.rows, []
        growth, usual = self.training.max_gradient_growth, median(self.norms) if self.norms else 0.0
        bound = max(usual, self.training.gradient_clipping or 1.0) * growth
        if math.isfinite(norm) and not (growth and len(self.norms) >= _MIN_NORMS and norm > bound):
            self.norms.append(norm)
            return
        if not math.isfinite(norm) and self.training.precision == "fp16":
            return  # the loss scaler skips this step and lowers its scale
        causes, batches = [], self.batches()
        if self.alone:
            norms = {row: float(row_norm(batches.of([row]))) for row in rows}
            largest = max(norms, key=lambda row: norms[row] if math.isfinite(norms[row]) else math.inf)
            causes = [row for row in rows if not math.isfinite(norms[row])] or [largest]
        change, allow = f"became {norm}", ""
        if math.isfinite(norm):
            change = f"grew to {norm:.3g} (median {usual:.3g})"
            limit = _power_of_ten_above(norm / max(usual, 1e-9))
            allow = f", or allow it with training.max_gradient_growth={limit}"
        raise StepError(
            f"tune: the gradient norm {change} at step {step}, {_cause(causes, rows, batches)}; lower "
            f"training.learning_rate (now {self.training.learning_rate:g}) or fix the row{allow}"
        )


Loss = Callable[[Batch], "Tensor | float"]


def require_training_rows(training: Training, rows: int) -> None:
    """Raise ``StepError`` if validation leaves none of *rows* to train on."""
    if training.validation.count(rows) >= rows:
        raise StepError(
            f"training.validation.rows: validation holds out {training.validation.count(rows)} of {rows} "
            f"training rows, so none are left; set training.validation.rows={rows // 10}"
        )


def check_rows(batches: Batches, model: Any) -> None:
    """Raise ``StepError`` if a token or label in *batches* is outside the range of *model*."""
    import torch

    tokens = len(model.get_input_embeddings().weight)
    counted = batches.task.generates or batches.task.embeds  # labels that number texts are below it too
    choices = tokens if counted else max(model.config.num_labels, 2)
    examples, first = iter(batches.examples), 0
    while chunk := list(itertools.islice(examples, _ROWS_AT_ONCE)):
        for part, kind, size in ((0, "token", tokens), (1, "label", choices)):
            values = torch.cat([example[part] for example in chunk])
            wrong = (values >= size) | ((values < 0) & (values != LABEL_MASK))
            if not bool(wrong.any()):
                continue
            position = int(wrong.nonzero()[0, 0])
            ends = list(itertools.accumulate(len(example[part]) for example in chunk))
            row = first + next(number for number, end in enumerate(ends) if position < end)
            raise StepError(
                f"tune: {kind} {int(values[position])} of {_describe([row], batches)} is outside the model's "
                f"range 0 to {size - 1}; use data for this model's tokenizer and model.labels, or fix the row"
            )
        first += len(chunk)


def _cause(causes: Sequence[int], rows: Sequence[int], batches: Batches) -> str:
    if causes:
        return f"because of {_describe(causes, batches)}"
    return f"in {_describe(rows, batches)}; no single row reproduces it"


def _describe(rows: Sequence[int], batches: Batches) -> str:
    """Return the numbers of *rows* among the encoded rows, from 1, and the text of a single row."""
    numbers = ", ".join(str(batches.stored(row) + 1) for row in rows[:8]) + (", …" if len(rows) > 8 else "")
    text = _preview(rows[0], batches) if len(rows) == 1 else ""
    return f"training row{'s' if len(rows) > 1 else ''} {numbers}" + (f" ({text})" if text else "")


def _preview(row: int, batches: Batches) -> str:
    if batches.text is None:
        return ""
    line = read_row(batches.text, batches.stored(row))
    text = json.dumps(json.loads(line), ensure_ascii=False) if line else ""
    return text if len(text) <= _PREVIEW_LENGTH else f"{text[:_PREVIEW_LENGTH]}…"


def _power_of_ten_above(ratio: float) -> int:
    """Return the power of ten above *ratio*.

    >>> _power_of_ten_above(301 / 2)
    1000
    """
    return int(10 ** math.ceil(math.log10(ratio) + 0.1))
