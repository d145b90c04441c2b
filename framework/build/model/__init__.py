"""The base of every model option: which weights, and which task they are tuned for."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.build.data.row_formats import Row
from framework.build.task import open_task
from framework.core.component import Component

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Encoded = tuple[Any, ...]
"""A prepared row: lists ``input_ids`` and ``labels``, then what else the task needs."""


class Model(Component, ABC):
    """A base model and its task.

    Subclasses say how a row becomes token ids and labels; tuning, evaluation and export ask only
    this class, so that a task is one file.
    """

    name: str
    """The name that people know the model by."""
    license: str
    """The licence of the weights (SPDX identifier where there is one)."""
    parameters: Annotated[float, Field(gt=0)]
    """Number of weights, for the plan's estimates of time and memory."""

    @property
    @abstractmethod
    def task(self) -> str:
        """The task's name; it decides loss, metrics and routes.

        It is a module of ``framework.build.task``, or the dotted path of a module in a plugin's own package.
        """

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where the weights come from, for the release."""

    @abstractmethod
    def materialise(self, output: Path, seed: int) -> None:
        """Write the model as a Hugging Face folder: safetensors, tokenizer, chat template."""

    def open(self, folder: Path) -> "PreTrainedModel":
        """Open a folder that ``materialise`` or a merge wrote: float32, evaluation mode."""
        import torch
        import transformers

        auto_class = getattr(transformers, open_task(self.task).auto_class)
        opened: PreTrainedModel = auto_class.from_pretrained(folder, dtype=torch.float32).eval()
        return opened

    @abstractmethod
    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Turn one row into ``(input_ids, labels)`` and perhaps more; the task says what labels are.

        Raises:
            DataError: the row does not suit the task.
        """

    def tokenizer(self, folder: Path) -> Any:
        """Open the folder's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)
