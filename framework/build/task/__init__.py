"""The base class of every task: how rows become a batch, the loss on it, and the metrics.

A model option names its task, a module of ``framework.build.task`` or of a plugin. A task knows token ids,
labels and tensors. It knows neither text nor files, nor how weights are trained.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine
from framework.core.errors import ConfigError
from framework.core.plugin_module import import_named

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.nn import Linear

LABEL_MASK = -100
"""Label of a position without a loss, as in torch's cross entropy."""

Example = tuple["Tensor", ...]
"""One prepared row: ``input_ids`` and ``labels``, two 1-D int64 tensors, then whatever else the task
needs; each task documents their lengths."""

Batch = dict[str, Any]
"""Tensors by the name of the model's argument, plus ``labels``."""


class Task(ABC):
    """What a model is tuned to do.

    Other code asks for these attributes, never for a task's name or class.
    """

    name: ClassVar[str]
    """Its name in configs and releases, such as ``causal-lm``; a plugin's is its module's dotted path."""
    auto_class: ClassVar[str]
    """The class of transformers that opens the folder."""
    peft_type: ClassVar[str]
    """The member of peft's ``TaskType``."""
    generates: ClassVar[bool]
    """Whether the answer is text, generated token by token; otherwise the model classifies."""
    labels_words: ClassVar[bool] = False
    """Whether labels belong to words, so that ``labels`` is as long as ``input_ids``, and not to rows."""
    multi_label: ClassVar[bool] = False
    """Whether each label is a binary decision, instead of one choice among several."""
    reads_images: ClassVar[bool] = False
    """Whether a row has an image beside its text."""
    embeds: ClassVar[bool] = False
    """Whether the model turns a text into a vector, so that it has no classes."""
    has_decoder_stack: ClassVar[bool] = False
    """Whether its models have an encoder and a decoder, each with layers of its own."""
    packs: ClassVar[bool] = False
    """Whether rows can be packed into one sequence instead of being padded to the longest."""
    pairs_layers: ClassVar[bool] = True
    """Whether hidden states of two of its models can be compared layer by layer, token by token."""
    reads_labeled: ClassVar[bool] = False
    """Whether the task has ``read``, which computes only the positions that have a label."""
    metrics: ClassVar[tuple[str, ...]]
    """The keys of ``measure``, so that a gate can be checked before anything runs."""
    suggested_training: ClassVar[str] = "supervised"
    """The training option that computes its loss; ``supervised`` is for tasks whose rows have labels."""
    suggested_export: ClassVar[str] = "transformers"
    """The export option to suggest where the chosen one does not support the task."""
    suggested_engine: ClassVar[str] = "torch"
    """The engine of that option."""
    suggested_compression: ClassVar[str] = "none"
    """The compression option to suggest for that engine."""

    @abstractmethod
    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Collate *rows* into one batch, padded with the token *pad*, or packed end to end."""

    def length(self, ids: list[int], labels: list[int]) -> int:
        """Return how many tokens a row has, prompt and answer together."""
        return len(ids)

    def read_together(self, row: Example) -> list[int]:
        """Return tokens of *row* that the model reads in one pass, to calibrate on."""
        ids: list[int] = row[0].tolist()
        return ids

    def cut(self, ids: list[int], labels: list[int], limit: int) -> tuple[list[int], list[int]] | None:
        """Truncate a row's two lists to *limit* tokens; None if no label would be left."""
        shorter = labels[:limit]
        return (ids[:limit], shorter) if any(label != LABEL_MASK for label in shorter) else None

    @abstractmethod
    def weight(self, labels: "Tensor") -> int:
        """Return how many terms one row's *labels* (1-D) add to the sum of ``loss``."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed loss of the batch, a float32 scalar, with one term for each unmasked label.

        A sum rather than a mean, so that rows can be split over micro-batches and devices and every label
        still has the same weight.
        """

    @abstractmethod
    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, float32 logits of its unmasked labels: (labels, choices).

        Raises:
            ServeError: the engine lacks the capability that the task needs.
        """

    def agreement(self, expected: "np.ndarray", actual: "np.ndarray") -> float:
        """Return how far two engines agree on the same labels, from 0 to 1: the share with the same argmax.

        Args:
            expected: one engine's ``logits``, (labels, choices).
            actual: the other's.
        """
        return float((expected.argmax(-1) == actual.argmax(-1)).mean())

    def sample(self, ids: list[int]) -> tuple[Any, ...]:
        """Return a row of the tokens *ids*, to time ``logits`` with; its label is arbitrary.

        It holds numpy arrays where possible, so that an engine without torch is timed without torch.
        """
        import numpy as np

        return np.array(ids), np.zeros(1, np.int64)

    def prompt_and_answer(self, row: Example) -> tuple[list[int], list[int]]:
        """Return a row's prompt and its reference answer as token ids.

        Only for tasks that generate. Of several answers it is the last, with all turns before it. The prompt
        is empty for a document, which has labels throughout.
        """
        raise NotImplementedError(f"{self.name} does not generate")

    def right_rows(self, rows: Sequence[Example]) -> Sequence[Example]:
        """Return the rows with right answers, to learn and to measure on: those not labeled bad."""
        return rows

    def read(
        self, model: Any, batch: Batch, head: "Linear | None", **more: Any
    ) -> "tuple[Tensor, Tensor, list[Tensor]]":
        """Run *model* on *batch*, and return its outputs at the positions before a label.

        Only for tasks that say ``reads_labeled``.

        Args:
            model: the model.
            batch: of ``collate``.
            head: the model's output layer, which is then left out; None computes logits.
            more: further arguments of *model*, such as ``output_hidden_states``.

        Returns:
            The inputs of *head* (positions, width), or the logits where it is None; the target tokens
            (positions,); and each layer's hidden states (positions, width), if *more* requests them.
        """
        raise NotImplementedError(f"{self.name} does not read labeled positions alone")

    def format_choices(self, choices: Sequence[int], names: Sequence[str]) -> str:
        """Format the choices of one row, labels or predictions, for people to read.

        Only for tasks that classify; *names* are the labels' names.
        """
        return " ".join(names[choice] for choice in choices)

    def retrieve(
        self, engine: Engine, rows: Sequence[Example], count: int
    ) -> list[tuple[Sequence[int], ...]]:
        """Return, for the first *count* rows, the query, its passage, and the nearest passage of any row.

        Each is token ids. Only for tasks that embed.
        """
        raise NotImplementedError(f"{self.name} does not embed")

    @abstractmethod
    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return ``metrics`` of *engine* on *rows*.

        Raises:
            ServeError: the engine lacks the capability that the task needs.
        """


def open_task(name: str) -> Task:
    """Return the task *name*, an instance of its module's ``TASK``.

    Args:
        name: a module of ``framework.build.task`` with hyphens, such as ``causal-lm``, or the dotted path
            of a plugin's module, such as ``ourpackage.our_task``.

    Raises:
        ConfigError: there is no such task.
    """
    try:
        module = import_named(name.replace("-", "_"), "framework.build.task")
    except ImportError as error:
        raise ConfigError(f"task '{name}': {error}; install the package that it belongs to") from error
    task: Task = module.TASK()
    return task
