"""The base of every tuning method: what is trained, how it is saved, how it merges."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.core.component import Component

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Tuning(Component, ABC):
    """How a base model is changed by training."""

    merges: ClassVar[bool] = True
    """Whether what was trained can become part of plain weights; else it travels beside them."""

    saves_frozen: ClassVar[bool] = False
    """Whether ``save`` writes weights that were never trained, so that they must keep every bit."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks that this method can tune; empty for all."""

    recomputes: ClassVar[bool] = True
    """Whether layers may be computed again in the backward pass instead of keeping their activations."""

    @property
    def spreads(self) -> frozenset[str]:
        """The ways in which a layout may spread the model while this trains it.

        They are those of ``framework.build.parallelism.Way``: ``optimizer``, ``sharded``, ``tensor`` and
        ``layers``.
        """
        return frozenset({"optimizer", "sharded"})

    @property
    def changes_weights_between_steps(self) -> bool:
        """Whether weights change outside the optimizer's steps, in ``after_step``."""
        return type(self).after_step is not Tuning.after_step

    @abstractmethod
    def apply(self, model: "PreTrainedModel", task: str, steps: int = 0) -> "PreTrainedModel":
        """Return the model to train: frozen where it must not change, wrapped where needed.

        The same *model*, task, steps and random state give the same result, bit for bit, so that a
        resumed run needs nothing but the trained weights and ``state``.

        Args:
            model: the base, float32, on the CPU; it may be changed.
            task: the name of the task.
            steps: optimiser steps that will follow, for methods with a schedule of their own; 0 if unknown.

        Raises:
            StepError: the model has nothing that this method could train.
        """

    def after_step(self, model: "PreTrainedModel", step: int) -> None:
        """Adjust *model* after optimiser step *step* (from 1), while its gradients are still there."""

    def penalty(self, model: "PreTrainedModel") -> "Tensor | None":
        """Return what a step's loss grows by, a scalar, whatever the batch; None is nothing."""
        return None

    def state(self, model: "PreTrainedModel") -> "dict[str, Tensor]":
        """Return what a checkpoint must hold besides the trained weights."""
        return {}

    def load_state(self, model: "PreTrainedModel", state: "Mapping[str, Tensor]") -> None:
        """Take back what ``state`` returned; *model* is fresh from ``apply``."""

    @abstractmethod
    def save(
        self, model: "PreTrainedModel", output: Path, state: "Mapping[str, Tensor] | None" = None
    ) -> None:
        """Write what training changed, in a form that peft or transformers opens as it is.

        Args:
            model: what ``apply`` returned.
            output: an empty folder.
            state: the whole ``state_dict`` of *model*, gathered, where its own weights are spread over
                processes or replaced by an average; None takes the model's own.
        """

    @abstractmethod
    def merge(self, base: "PreTrainedModel", tuned: Path) -> "PreTrainedModel":
        """Return a plain float model that equals *base* with what ``save`` wrote to *tuned*.

        Raises:
            StepError: the method does not merge.
        """

    @abstractmethod
    def trainable(self, parameters: float) -> float:
        """Estimate how many of a model's *parameters* are trained, for the plan.

        Widths are not known before the model is fetched, so all methods guess alike: see ``width``.
        """

    @staticmethod
    def width(parameters: float) -> float:
        """Guess a model's width d from its size: ``0.05 * sqrt(parameters)``.

        Within a third of the truth from SmolLM2-135M to Llama-3.1-8B. A layer has about ``12 * d**2``
        weights, so that such a model has some 33 layers.
        """
        return 0.05 * float(parameters**0.5)

    def weight_bytes(self) -> float:
        """Return the bytes that one frozen weight takes while it is trained on: 4, or fewer if quantised."""
        return 4.0
