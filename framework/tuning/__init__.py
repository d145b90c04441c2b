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

    @abstractmethod
    def apply(self, model: "PreTrainedModel", task: str) -> "PreTrainedModel":
        """Return the model to train: frozen where it must not change, wrapped where needed.

        Raises:
            StepError: the model has nothing that this method could train.
        """

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
        """Return a plain float model that equals *base* with what ``save`` wrote to *tuned*."""

    @abstractmethod
    def trainable(self, parameters: float) -> float:
        """Estimate how many of a model's *parameters* are trained, for the plan."""
