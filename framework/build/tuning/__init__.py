"""Base class of the tuning methods: which weights are trained, and how they are saved and merged."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.core.component import Component
from framework.core.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Tuning(Component, ABC):
    """Which weights of a base model are trained, and how."""

    merges: ClassVar[bool] = True
    """Whether the trained weights can be merged into the base; otherwise they stay a separate adapter."""

    saves_frozen: ClassVar[bool] = False
    """Whether ``save`` also writes frozen weights, which then must keep full precision."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """Tasks that this method supports; empty for all."""

    recomputes: ClassVar[bool] = True
    """Whether the method supports gradient checkpointing."""

    def problems(self, model_config: Mapping[str, Any]) -> list[Problem]:
        """Return what cannot work with a model, as far as that is known before it is opened.

        Args:
            model_config: the model's ``config.json``.
        """
        return []

    @property
    def spreads(self) -> frozenset[str]:
        """The ways in which the model may be sharded while this method trains it.

        See ``framework.build.parallelism.Way``: ``optimizer``, ``sharded``, ``tensor`` and ``layers``.
        """
        return frozenset({"optimizer", "sharded"})

    @property
    def changes_weights_between_steps(self) -> bool:
        """Whether weights change outside the optimizer's steps, in ``after_step``."""
        return type(self).after_step is not Tuning.after_step

    @abstractmethod
    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return the model to train, with frozen weights and added adapters.

        It is deterministic: the same arguments and random state return the same bits. To resume, the trained
        weights and ``state`` are sufficient.

        Args:
            model: the base model, float32, on the CPU; it may be changed in place.
            task: the name of the task.
            steps: number of optimizer steps, for methods with their own schedule; 0 if unknown.

        Raises:
            StepError: the model has no weights that this method can train.
        """

    def after_step(self, model: "PreTrainedModel", step: int) -> None:
        """Adjust *model* after optimizer step *step* (from 1), before gradients are cleared."""

    def penalty(self, model: "PreTrainedModel") -> "Tensor | None":
        """Return a scalar to add to the loss of a step, independent of the batch; None adds nothing."""
        return None

    def state(self, model: "PreTrainedModel") -> "dict[str, Tensor]":
        """Return the tensors that a checkpoint needs besides the trained weights."""
        return {}

    def load_state(self, model: "PreTrainedModel", state: "Mapping[str, Tensor]") -> None:
        """Restore the tensors of ``state``; *model* has just been returned by ``apply``."""

    @abstractmethod
    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write the trained weights in a format that peft or transformers can open.

        Args:
            model: the model that ``apply`` returned.
            output: an empty folder.
            state: the gathered ``state_dict`` of *model*, if its weights are sharded or replaced by an
                average; None uses the model's own.
        """

    @abstractmethod
    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Return a float32 model with the weights in *tuned*, written by ``save``, merged into *base*.

        Raises:
            StepError: the method does not merge.
        """

    @abstractmethod
    def trainable(self, parameters: float) -> float:
        """Estimate how many of a model's *parameters* are trained, for the plan.

        The hidden size is not known before the model is fetched; ``width`` guesses it.
        """

    @staticmethod
    def width(parameters: float) -> float:
        """Guess a model's hidden size d from its parameters: ``0.05 * sqrt(parameters)``.

        It is within a third of the true value from SmolLM2-135M to Llama-3.1-8B. A layer has about
        ``12 * d**2`` weights, so such a model has about 33 layers.
        """
        return 0.05 * float(parameters**0.5)

    def weight_bytes(self) -> float:
        """Return the bytes of one frozen weight during training: 4, or fewer if quantized."""
        return 4.0
