"""The base of every task: how rows become a batch, what is lost on it, and what is measured.

A task is one file below ``framework.build.task``; a model option names it. It knows token ids, labels and
tensors: neither text, nor files, nor how weights are trained.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

LABEL_MASK = -100
"""Label of a position that carries no loss, as in torch's cross entropy."""

Example = tuple["Tensor", ...]
"""One prepared row: ``input_ids`` and ``labels``, two 1-D int64 tensors, and what else the task needs;
see the task for their lengths."""

Batch = dict[str, Any]
"""Tensors by the name of the model's argument, and ``labels``."""


class Task(ABC):
    """What a model is tuned to do."""

    name: ClassVar[str]
    """What configs and releases call it, such as ``causal-lm``."""
    auto_class: ClassVar[str]
    """The class of transformers that opens the folder."""
    peft_type: ClassVar[str]
    """What peft calls the task, in its ``TaskType``."""
    generates: ClassVar[bool]
    """Whether the answer is text, token by token."""
    packs: ClassVar[bool] = False
    """Whether rows may be laid end to end in one sequence instead of being padded to the longest."""
    metrics: ClassVar[tuple[str, ...]]
    """The names that ``measure`` gives, so that a gate can be checked before anything runs."""
    suggested_export: ClassVar[str] = "transformers"
    """The export option to suggest where the chosen one does not support the task."""
    suggested_engine: ClassVar[str] = "torch"
    """The engine of that option."""
    suggested_compression: ClassVar[str] = "none"
    """The compression option to suggest for that engine."""

    @abstractmethod
    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Make one batch of *rows*, padded with the token *pad*, or end to end where *packed*."""

    def length(self, ids: list[int], labels: list[int]) -> int:
        """Return how many tokens a row has, prompt and answer together."""
        return len(ids)

    def cut(self, ids: list[int], labels: list[int], limit: int) -> tuple[list[int], list[int]] | None:
        """Shorten a row's two lists to *limit* tokens; None where nothing would be left to learn from."""
        shorter = labels[:limit]
        return (ids[:limit], shorter) if any(label != LABEL_MASK for label in shorter) else None

    @abstractmethod
    def weight(self, labels: "Tensor") -> int:
        """Return how many losses one row's *labels* (1-D) add to the sum of ``loss``."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the sum of the batch's losses, a float32 scalar: one for each label that carries a loss.

        A sum, and not a mean, so that whoever splits rows over micro batches and devices can weigh
        every label alike.
        """

    @abstractmethod
    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return for each row the float32 logits that decide its labels: (labels with a loss, choices)."""

    def sample(self, ids: list[int]) -> tuple[Any, ...]:
        """Return a row of the tokens *ids* to time ``logits`` with; its label does not matter.

        It holds arrays of numpy where that will do, so that an engine without torch is timed without it.
        """
        import numpy as np

        return np.array(ids), np.zeros(1, np.int64)

    def asked(self, row: Example) -> tuple[list[int], list[int]]:
        """Return the token ids that an answer is generated from, and those of the row's own answer.

        Only for tasks that generate. The first is empty where nothing is asked: a document is learnt whole.
        """
        raise NotImplementedError(f"{self.name} generates nothing")

    def in_words(self, choices: Sequence[int], names: Sequence[str]) -> str:
        """Return the choices of one row, whether given or found, as a person reads them.

        Only for tasks that classify; *names* are those of the labels.
        """
        return " ".join(names[choice] for choice in choices)

    @abstractmethod
    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return ``metrics`` of *engine* on *rows*."""


def open_task(name: str) -> Task:
    """Return the task *name*: ``TASK`` of the module of that name below ``framework.build.task``."""
    task: Task = import_module(f"framework.build.task.{name.replace('-', '_')}").TASK()
    return task
