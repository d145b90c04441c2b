"""Direct preference optimization (DPO) on pairs of a chosen and a rejected answer.

It knows the pairs and a reference model's log-probabilities of them; not which model that is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, overload

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example
from framework.build.task.causal_lm import JUDGED_PARTS, CausalLanguageModeling
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = 4
"""Tensors of a row: ids and labels of the chosen answer, ids and labels of the rejected one."""


class Preferences(CausalLanguageModeling):
    """A row has a pair's four tensors, and for training the reference's two log-probabilities."""

    packs: ClassVar[bool] = False

    def __init__(self, beta: float = 0.1) -> None:
        self.beta = beta

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Stack chosen over rejected: a padded batch (2 * rows, T), and ``reference``, float32 (rows, 2)."""
        import torch

        chosen, rejected = [row[:2] for row in rows], [row[2:TENSORS] for row in rows]
        batch = super().collate([*chosen, *rejected], pad)
        return {**batch, "reference": torch.stack([row[TENSORS] for row in rows])}

    def weight(self, labels: "Tensor") -> int:
        """Return 1: each pair has one loss."""
        return 1

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed loss of the pairs: ``-log sigmoid(beta * margin)``, arXiv:2305.18290, equation 7.

        The margin, in nats, is the model's log-ratio of the chosen and the rejected answer minus the
        reference's.
        """
        import torch

        inputs = {name: value for name, value in batch.items() if name != "reference"}
        chosen, rejected = log_probabilities(model, inputs).chunk(2)
        reference = batch["reference"]
        margin = (chosen - rejected) - (reference[:, 0] - reference[:, 1])
        return -torch.nn.functional.logsigmoid(self.beta * margin).sum()


def log_probabilities(model: Any, batch: Batch) -> "Tensor":
    """Return the log-probability of each row's labels, float32 (rows,), for a left-padded batch."""
    import torch

    labels = batch["labels"][:, 1:]
    labeled = labels != LABEL_MASK
    first = int(labeled.any(0).int().argmax())
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, logits_to_keep=labels.shape[1] - first + 1, use_cache=False).logits[:, :-1]
    targets, kept = labels[:, first:].clamp(min=0), labeled[:, first:]
    losses = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
    sums: Tensor = -(losses * kept).sum(1)
    return sums


class _WithReference(Sequence[Example]):
    """Preference rows, each with its reference log-probabilities; the rows stay where they are stored."""

    def __init__(self, rows: Sequence[Example], reference: "Tensor") -> None:
        self._rows, self._reference = rows, reference

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return _WithReference(self._rows[index], self._reference[index])
        return (*self._rows[index][:TENSORS], self._reference[index])


def with_reference(model: Any, rows: Sequence[Example], pad: int) -> Sequence[Example]:
    """Return *rows*, each with *model*'s log-probabilities of its two answers, float32 (2,).

    Raises:
        StepError: a row has no rejected answer.
    """
    import torch

    require_pairs(rows)
    task, reference = CausalLanguageModeling(), []
    with torch.no_grad():
        for row in rows:
            batch = task.collate([row[:2], row[2:TENSORS]], pad)
            reference.append(log_probabilities(model, batch))
    return _WithReference(rows, torch.stack(reference))


def preferred(engine: Engine, rows: Sequence[Example]) -> "Tensor":
    """Return the log-ratio of each row's chosen and rejected answer under *engine*, in nats, (rows,).

    Raises:
        StepError: a row has no rejected answer.
    """
    import torch

    require_pairs(rows)
    return torch.stack(
        [log_probability(engine, *row[:2]) - log_probability(engine, *row[2:TENSORS]) for row in rows]
    )


def log_probability(engine: Engine, ids: "Tensor", labels: "Tensor") -> "Tensor":
    """Return the log-probability of a row's labels under *engine*, a scalar."""
    import torch

    logits = torch.from_numpy(CausalLanguageModeling().logits(engine, [(ids, labels)])[0])
    targets = labels[1:][labels[1:] != LABEL_MASK]
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def require_pairs(rows: Sequence[Example]) -> None:
    """Check that every row has a rejected answer.

    Raises:
        StepError: a row has none.
    """
    if incomplete := [number for number, row in enumerate(rows, 1) if len(row) < TENSORS]:
        if len(rows[0]) == JUDGED_PARTS:
            raise StepError("training: the rows have labels instead of rejected answers; set training=kto")
        raise StepError(
            f"row {incomplete[0]} has no rejected answer; give rows of 'prompt', 'chosen' and 'rejected', "
            "or set training=supervised evaluation=held-out"
        )
