"""Base class of the model options: the base model's weights, and the task they are tuned for."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.engine.model_folder import read_json
from framework.build.task import open_task
from framework.core.component import Component
from framework.core.errors import ServeError
from framework.core.problem import Problem
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Encoded = tuple[Any, ...]
"""A prepared row: the lists ``input_ids`` and ``labels``, then further parts that the task needs."""


@dataclass(frozen=True)
class Classes:
    """What a model chooses among."""

    key: str
    """The field of the option that names them."""
    names: tuple[str, ...]
    least: int = 2
    """How many there must be."""


class Model(Component, ABC):
    """A base model and its task.

    Subclasses convert rows to token ids and labels. Tuning, evaluation and export depend only on this class.
    """

    losses: ClassVar[tuple[LossOn, ...]] = ("answers",)
    """The values of ``data.loss_on`` that it supports."""

    name: str
    """The model's common name."""
    license: str
    """The license of the weights: its SPDX identifier if it has one."""
    parameters: Annotated[float, Field(gt=0)]
    """Number of parameters, for the plan's estimates of time and memory."""

    @property
    @abstractmethod
    def task(self) -> str:
        """The task's name; it decides loss, metrics and routes.

        It is a module of ``framework.build.task``, or the dotted path of a module in a plugin's own package.
        """

    @property
    def classes(self) -> Classes | None:
        """The classes that its rows are labeled with; None where the task has none."""
        return None

    @property
    @abstractmethod
    def origin(self) -> str:
        """Where the weights come from; recorded in the release."""

    def problems(self) -> list[Problem]:
        """Return what is known to be wrong before anything is fetched; keys begin with ``model.``."""
        return []

    @abstractmethod
    def materialize(self, output: Path, seed: int) -> None:
        """Write the model as a Hugging Face folder: float32 safetensors, tokenizer, chat template.

        Args:
            output: an empty folder.
            seed: initializes weights that the source does not have, such as a classification head.

        Raises:
            SourceError: the source cannot be fetched.
            StepError: transformers cannot open the source.
        """

    def known_config(self) -> dict[str, Any]:
        """Return the source's ``config.json`` if this machine has it already; else ``{}``.

        A plan reads it, so nothing is downloaded.
        """
        source = getattr(self, "source", None)
        folder = source.at_hand() if isinstance(source, Source) else None
        try:
            return read_json(folder, "config.json") if folder is not None and folder.is_dir() else {}
        except ServeError:
            return {}  # the stage ``model`` says what is wrong with it

    def open(self, folder: Path) -> "PreTrainedModel":
        """Open a folder written by ``materialize`` or a merge, in float32 and evaluation mode."""
        import torch
        import transformers

        auto_class = getattr(transformers, open_task(self.task).auto_class)
        opened: PreTrainedModel = auto_class.from_pretrained(folder, dtype=torch.float32).eval()
        return opened

    @abstractmethod
    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Convert one row to ``input_ids``, ``labels`` and further parts of the task.

        Args:
            tokenizer: the model's.
            row: a canonical row.
            loss_on: one of ``losses``.

        Returns:
            One encoded row, or several: a conversation may become one for each answer.

        Raises:
            DataError: the row does not have the form that the task needs.
        """

    def tokenizer(self, folder: Path) -> Any:
        """Open the folder's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder)
