"""Knowledge distillation: a student learns a teacher's probabilities of all choices, besides the labels.

It knows batches, two models and the weights of the loss's terms. It knows neither folders nor training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.cross_entropy import separable_head, summed_in_chunks
from framework.build.task.packing import can_pack, use_packed_attention

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """The weights of the terms of a label's loss."""

    temperature: float
    """Divides both models' logits before they are compared."""
    soft: float
    """Weight of the divergence from the teacher; it is multiplied by the temperature squared."""
    hard: float
    """Weight of the task's own loss."""
    states: float = 0.0
    """Weight of the mean squared difference of the layers' hidden states."""


class Distilled(Task):
    """Another task's rows and labels, with a teacher in the loss (Hinton et al., 2015, arXiv:1503.02531).

    The teacher is not part of the model in training: it is neither tuned nor saved. It moves to the device
    of the first batch.
    """

    def __init__(self, task: Task, teacher: Any, mix: Mix) -> None:
        self.task, self.teacher, self.mix = task, teacher, mix
        # Other tasks set these on the class; here they are those of the wrapped task.
        self.name, self.generates = task.name, task.generates  # type: ignore[misc]
        self.packs = task.packs and can_pack(teacher)  # type: ignore[misc]
        self._packs_attention = False

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Return the task's own batch."""
        return self.task.collate(rows, pad, packed)

    def weight(self, labels: "Tensor") -> int:
        """Return the task's own weight: a label has one loss, whatever its terms."""
        return self.task.weight(labels)

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return the task's own logits."""
        return self.task.logits(engine, rows)

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return the task's own metrics."""
        return self.task.measure(engine, rows)

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return ``hard * L + soft * T**2 * KL(teacher || model) + states * MSE``, summed over the labels.

        L is the task's own loss. KL compares both softmaxes at temperature T, over the choices that both
        models have. MSE is the mean over width and layers: layer i of n is compared with the teacher's
        layer at the same relative depth, i / n.
        """
        self.teacher.to(batch["labels"].device)
        if "cu_seq_lens_q" in batch and not self._packs_attention:
            use_packed_attention(self.teacher)
            self._packs_attention = True
        if self.task.reads_labeled:
            return self._loss_of_labeled(model, batch)
        return self._loss_of_batch(model, batch)

    def _loss_of_labeled(self, model: Any, batch: Batch) -> "Tensor":
        """Return the loss from the labeled positions alone, with the head applied in chunks."""
        import torch

        more = {"output_hidden_states": True} if self.mix.states else {}
        head, teacher_head = separable_head(model), separable_head(self.teacher)
        with torch.no_grad():
            taught, _, teacher_states = self.task.read(self.teacher, batch, teacher_head, **more)
            dtype = taught.dtype
            linear = (
                None if teacher_head is None else [weight.to(dtype) for weight in teacher_head.parameters()]
            )

        def teacher_logits(positions: slice) -> "Tensor":
            if linear is None:
                return taught[positions].float()
            return torch.nn.functional.linear(taught[positions], *linear).float()

        def chunk_loss(positions: slice, logits: "Tensor") -> "tuple[Tensor, Tensor]":
            with torch.enable_grad():
                own = logits.detach().requires_grad_()
                loss = self._mixed(own, teacher_logits(positions), targets[positions])
            return loss.detach(), torch.autograd.grad(loss, own)[0]

        outputs, targets, states = self.task.read(model, batch, head, **more)
        if head is None:
            loss = self._mixed(outputs.float(), teacher_logits(slice(None)), targets)
        else:
            loss = summed_in_chunks(outputs, head, chunk_loss)
        weights = torch.ones_like(targets)
        return loss + self._state_loss(states, teacher_states, weights) if states else loss

    def _mixed(self, logits: "Tensor", taught: "Tensor", targets: "Tensor") -> "Tensor":
        import torch

        hard = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        soft = divergence(logits, taught, self.mix.temperature)
        return self.mix.hard * hard + self.mix.soft * self.mix.temperature**2 * soft

    def _loss_of_batch(self, model: Any, batch: Batch) -> "Tensor":
        """Return the loss from both models' whole outputs."""
        import torch

        more = {"output_hidden_states": True} if self.mix.states else {}
        student, teacher = _Recorded(model, more), _Recorded(self.teacher, more)
        hard = self.task.loss(student, batch)
        with torch.no_grad():
            self.task.loss(teacher, batch)
        logits, taught, labels = student.out.logits.float(), teacher.out.logits.float(), batch["labels"]
        multi_label = self.task.multi_label
        labeled = torch.ones_like(labels, dtype=torch.bool) if multi_label else labels != LABEL_MASK
        soft = divergence(logits[labeled], taught[labeled], self.mix.temperature, binary=multi_label)
        loss = self.mix.hard * hard + self.mix.soft * self.mix.temperature**2 * soft
        if not self.mix.states:
            return loss
        mask = batch["attention_mask"]
        if self.task.labels_words:
            weights = labeled.float()
        else:  # a row's labels share the mean over its tokens
            weights = mask / mask.sum(1, keepdim=True) * (labels.shape[1] if multi_label else 1)
        kept = weights > 0
        states, taught_states = (
            [layer[kept] for layer in recorded.out.hidden_states] for recorded in (student, teacher)
        )
        return loss + self._state_loss(states, taught_states, weights[kept])

    def _state_loss(self, states: "list[Tensor]", taught: "list[Tensor]", weights: "Tensor") -> "Tensor":
        """Return the squared differences of paired layers, weighted by *weights* (positions,), a scalar."""
        import torch

        losses = [
            ((states[layer].float() - taught[other].float()) ** 2).mean(1) @ weights.float()
            for layer, other in layer_pairs(len(states) - 1, len(taught) - 1)
        ]
        return self.mix.states * torch.stack(losses).mean()


class _Recorded:
    """A model that keeps its last output, and passes further arguments to each call."""

    def __init__(self, model: Any, more: dict[str, Any]) -> None:
        self.model, self.more = model, more
        self.out: Any = None

    def __call__(self, **inputs: Any) -> Any:
        self.out = self.model(**inputs, **self.more)
        return self.out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def divergence(logits: "Tensor", taught: "Tensor", temperature: float, *, binary: bool = False) -> "Tensor":
    """Return KL(teacher || student) at *temperature*, summed over all positions, a scalar.

    Args:
        logits: the student's, (positions, choices), float32.
        taught: the teacher's. If one model has more choices, only those that both have are compared;
            vocabularies are often padded to a round number.
        temperature: divides both.
        binary: whether each logit is a binary decision; both can then have any shape.
    """
    import torch

    scaled = [logits / temperature, taught / temperature]
    if binary:
        scaled = [torch.stack([yes, torch.zeros_like(yes)], -1) for yes in scaled]
    choices = min(scores.shape[-1] for scores in scaled)
    student, teacher = (scores[..., :choices].log_softmax(-1) for scores in scaled)
    return (teacher.exp() * (teacher - student)).sum()


def layer_pairs(layers: int, others: int) -> list[tuple[int, int]]:
    """Pair each of *layers* with the one of *others* at the same relative depth, both counted from 1.

    >>> layer_pairs(2, 6), layer_pairs(3, 3)
    ([(1, 3), (2, 6)], [(1, 1), (2, 2), (3, 3)])
    """
    return [(layer, max(1, round(layer * others / layers))) for layer in range(1, layers + 1)]
