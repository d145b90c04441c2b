"""Preferences between two answers: direct preference optimisation, DPO.

It knows pairs of answers and what a reference model made of them; not which model that is.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, overload

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example
from framework.build.task.causal_lm import CausalLanguageModelling
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch import Tensor

PARTS = 4
"""Parts of a row: ids and labels of the chosen answer, ids and labels of the rejected one."""


class Preferences(CausalLanguageModelling):
    """A row is a preference's four parts, and for training the reference's two log-probabilities."""

    packs: ClassVar[bool] = False

    def __init__(self, beta: float = 0.1) -> None:
        self.beta = beta

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Stack chosen over rejected: a padded batch of (2 rows, T), and ``reference``, float32 (rows, 2)."""
        import torch

        chosen, rejected = [row[:2] for row in rows], [row[2:PARTS] for row in rows]
        batch = super().collate([*chosen, *rejected], pad)
        return {**batch, "reference": torch.stack([row[PARTS] for row in rows])}

    def weight(self, labels: "Tensor") -> int:
        """Return 1: a pair has one loss."""
        return 1

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed loss of the pairs: ``-log sigmoid(beta * margin)``, arXiv:2305.18290, equation 7.

        The margin is by how much more the model has come to favour the chosen answer over the rejected
        one, in nats, than the reference does.
        """
        import torch

        inputs = {name: value for name, value in batch.items() if name != "reference"}
        found = log_probabilities(model, inputs)
        chosen, rejected = found.chunk(2)
        reference = batch["reference"]
        margin = (chosen - rejected) - (reference[:, 0] - reference[:, 1])
        return -torch.nn.functional.logsigmoid(self.beta * margin).sum()


def log_probabilities(model: Any, batch: Batch) -> "Tensor":
    """Return the log-probability of each row's labelled tokens, (rows,) float32, for a left-padded batch."""
    import torch

    labels = batch["labels"][:, 1:]
    labelled = labels != LABEL_MASK
    first = int(labelled.any(0).int().argmax())
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    logits = model(**inputs, logits_to_keep=labels.shape[1] - first + 1, use_cache=False).logits[:, :-1]
    wanted, kept = labels[:, first:].clamp(min=0), labelled[:, first:]
    losses = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none")
    found: Tensor = -(losses * kept).sum(1)
    return found


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
        return (*self._rows[index][:PARTS], self._reference[index])


def with_reference(model: Any, rows: Sequence[Example], pad: int) -> Sequence[Example]:
    """Return *rows*, each with the log-probabilities that *model* gives its two answers, float32 (2,).

    Raises:
        StepError: a row is no preference.
    """
    import torch

    refuse_others(rows)
    task, reference = CausalLanguageModelling(), []
    with torch.no_grad():
        for row in rows:
            batch = task.collate([row[:2], row[2:PARTS]], pad)
            reference.append(log_probabilities(model, batch))
    return _WithReference(rows, torch.stack(reference))


def preferred(engine: Engine, rows: Sequence[Example]) -> "Tensor":
    """Return by how many nats *engine* favours each row's chosen answer over the rejected one, (rows,)."""
    import torch

    refuse_others(rows)
    task, found = CausalLanguageModelling(), []
    for row in rows:
        sums = []
        for part in (row[:2], row[2:PARTS]):
            logits = torch.from_numpy(task.logits(engine, [part])[0])
            wanted = part[1][1:][part[1][1:] != LABEL_MASK]
            sums.append(-torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
        found.append(sums[0] - sums[1])
    return torch.stack(found)


def refuse_others(rows: Sequence[Example]) -> None:
    """Raise a StepError for the first of *rows* that is no preference."""
    if odd := [place for place, row in enumerate(rows, 1) if len(row) < PARTS]:
        raise StepError(
            f"row {odd[0]} has no rejected answer; give rows of 'prompt', 'chosen' and 'rejected', or set "
            "training=supervised evaluation=held-out"
        )
