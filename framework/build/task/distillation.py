"""Distillation: a small model learns what a large one thinks of each choice, besides the right one.

It knows batches, two models and how to weigh what they differ in; neither folders nor how weights move.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.causal_lm import CausalLanguageModelling
from framework.build.task.cross_entropy import separable_head, summed_by_place
from framework.build.task.multi_label_classification import MultiLabelClasses
from framework.build.task.packing import can_pack, use_packed_attention
from framework.build.task.token_classification import TokenClasses

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STATES = ("causal-lm", "sequence-classification", "multi-label-classification", "token-classification")
"""The tasks whose models have one stack of layers, so that those of two models can be compared."""


@dataclass(frozen=True)
class Mix:
    """What a label's loss is made of."""

    temperature: float
    """What both models' logits are divided by before they are compared."""
    soft: float
    """Weight of the divergence from the teacher, times the temperature squared."""
    hard: float
    """Weight of the task's own loss."""
    states: float = 0.0
    """Weight of the mean squared difference of the layers' hidden states."""


class Distilled(Task):
    """Another task's rows and labels, with a loss that also asks a teacher (Hinton et al., 2015, 1503.02531).

    The teacher is no part of the model under training: it is neither tuned nor saved, and goes to the
    device of the first batch that it reads.
    """

    def __init__(self, task: Task, teacher: Any, mix: Mix) -> None:
        self.task, self.teacher, self.mix = task, teacher, mix
        # What a task is otherwise, its class says; this one is what it wraps.
        self.name, self.generates = task.name, task.generates  # type: ignore[misc]
        self.packs = task.packs and can_pack(teacher)  # type: ignore[misc]
        self._packs_attention = False

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Return what the task makes of *rows*."""
        return self.task.collate(rows, pad, packed)

    def weight(self, labels: "Tensor") -> int:
        """Return what the task does: a label has one loss, whatever it is made of."""
        return self.task.weight(labels)

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return what the task does."""
        return self.task.logits(engine, rows)

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return what the task does."""
        return self.task.measure(engine, rows)

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return ``hard * L + soft * T**2 * KL(teacher || model) + states * MSE``, summed over the labels.

        L is the task's own loss; KL compares what both make of the logits divided by T, over the choices
        that both have; MSE is the mean over width and layers, where layer i of n is compared with the
        teacher's layer i / n of the way up.
        """
        self.teacher.to(batch["labels"].device)
        if "cu_seq_lens_q" in batch and not self._packs_attention:
            use_packed_attention(self.teacher)
            self._packs_attention = True
        if isinstance(self.task, CausalLanguageModelling):
            return self._of_tokens(self.task, model, batch)
        return self._of_classes(model, batch)

    def _of_tokens(self, task: CausalLanguageModelling, model: Any, batch: Batch) -> "Tensor":
        import torch

        more = {"output_hidden_states": True} if self.mix.states else {}
        head, other = separable_head(model), separable_head(self.teacher)
        with torch.no_grad():
            taught, _, their_states = task.read(self.teacher, batch, other, **more)
            width = taught.dtype
            matrix = None if other is None else [each.to(width) for each in other.parameters()]

        def their_logits(places: slice) -> "Tensor":
            if matrix is None:
                return taught[places].float()
            return torch.nn.functional.linear(taught[places], *matrix).float()

        def judge(places: slice, logits: "Tensor") -> "tuple[Tensor, Tensor]":
            with torch.enable_grad():
                own = logits.detach().requires_grad_()
                loss = self._mixed(own, their_logits(places), wanted[places])
            return loss.detach(), torch.autograd.grad(loss, own)[0]

        found, wanted, states = task.read(model, batch, head, **more)
        if head is None:
            loss = self._mixed(found.float(), their_logits(slice(None)), wanted)
        else:
            loss = summed_by_place(found, head, judge)
        return loss + self._apart(states, their_states, torch.ones_like(wanted)) if states else loss

    def _mixed(self, logits: "Tensor", taught: "Tensor", wanted: "Tensor") -> "Tensor":
        import torch

        hard = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
        soft = divergence(logits, taught, self.mix.temperature)
        return self.mix.hard * hard + self.mix.soft * self.mix.temperature**2 * soft

    def _of_classes(self, model: Any, batch: Batch) -> "Tensor":
        import torch

        more = {"output_hidden_states": True} if self.mix.states else {}
        student, teacher = _Heard(model, more), _Heard(self.teacher, more)
        hard = self.task.loss(student, batch)
        with torch.no_grad():
            self.task.loss(teacher, batch)
        found, taught, labels = student.out.logits.float(), teacher.out.logits.float(), batch["labels"]
        several = isinstance(self.task, MultiLabelClasses)
        labelled = torch.ones_like(labels, dtype=torch.bool) if several else labels != LABEL_MASK
        soft = divergence(found[labelled], taught[labelled], self.mix.temperature, yes_or_no=several)
        loss = self.mix.hard * hard + self.mix.soft * self.mix.temperature**2 * soft
        if not self.mix.states:
            return loss
        mask = batch["attention_mask"]
        if isinstance(self.task, TokenClasses):
            weights = labelled.float()
        else:  # a row's labels share the mean over its tokens
            weights = mask / mask.sum(1, keepdim=True) * (labels.shape[1] if several else 1)
        kept = weights > 0
        states, theirs = ([each[kept] for each in heard.out.hidden_states] for heard in (student, teacher))
        return loss + self._apart(states, theirs, weights[kept])

    def _apart(self, states: "list[Tensor]", theirs: "list[Tensor]", weights: "Tensor") -> "Tensor":
        """Return the squared differences of paired layers, by *weights*, (places,), as a scalar."""
        import torch

        apart = [
            ((states[own].float() - theirs[other].float()) ** 2).mean(1) @ weights.float()
            for own, other in layer_pairs(len(states) - 1, len(theirs) - 1)
        ]
        return self.mix.states * torch.stack(apart).mean()


class _Heard:
    """A model that remembers its last answer, and is asked for more than the task asks."""

    def __init__(self, model: Any, more: dict[str, Any]) -> None:
        self.model, self.more = model, more
        self.out: Any = None

    def __call__(self, **inputs: Any) -> Any:
        self.out = self.model(**inputs, **self.more)
        return self.out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def divergence(
    logits: "Tensor", taught: "Tensor", temperature: float, *, yes_or_no: bool = False
) -> "Tensor":
    """Return KL(teacher || student) at *temperature*, summed over all places, a scalar.

    Args:
        logits: the student's, (places, choices), float32.
        taught: the teacher's; it may have more choices or fewer, then those that both have are compared,
            as vocabularies are often filled up to a round number.
        temperature: what both are divided by.
        yes_or_no: whether each logit is a choice of its own, against 0; both may then be of any shape.
    """
    import torch

    one, other = logits / temperature, taught / temperature
    if yes_or_no:
        one, other = (torch.stack([each, torch.zeros_like(each)], -1) for each in (one, other))
    choices = min(one.shape[-1], other.shape[-1])
    own, theirs = (each[..., :choices].log_softmax(-1) for each in (one, other))
    return (theirs.exp() * (theirs - own)).sum()


def layer_pairs(layers: int, others: int) -> list[tuple[int, int]]:
    """Pair each of *layers* with one of *others* that is as far up, both counted from 1.

    >>> layer_pairs(2, 6), layer_pairs(3, 3)
    ([(1, 3), (2, 6)], [(1, 1), (2, 2), (3, 3)])
    """
    return [(own, max(1, round(own * others / layers))) for own in range(1, layers + 1)]
