"""The base of every compression option: how a model is made smaller, before its export or after it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from framework.core.component import Component
from framework.export import Export
from framework.model import Model
from framework.training import Training
from framework.tuning import Tuning


class Compression(Component, ABC):
    """One way to make a model smaller; several are applied in the order in which they are chosen."""

    label: ClassVar[str]
    """The candidate's name in metrics and reports, such as ``int4``."""

    changes_nothing: ClassVar[bool] = False
    """True of the option that stands for no compression."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks of the models that it can compress; empty for all."""

    impossible: ClassVar[str] = ""
    """Why no plan can use it, with the override that can; for what is asked for but cannot be."""


class ModelCompression(Compression):
    """A Hugging Face folder becomes another one: reshaped, then trained again, or one of the two.

    It comes before every ``ExportCompression``. What it makes is a candidate that torch evaluates.
    """

    reshapes: ClassVar[bool] = True
    """Whether ``reshape`` has something to do."""

    taught: ClassVar[bool] = False
    """Whether its training needs ``Folders.teacher``: ``teacher``, or the tuned model as it was before all
    compression."""

    @abstractmethod
    def reshape(self, model: Model, folder: Path, data: Path, output: Path) -> None:
        """Write the changed model as a folder that plain transformers opens.

        Args:
            model: opens *folder* and names the task.
            folder: the Hugging Face folder, float32.
            data: the folder of the data step, for what looks at training rows.
            output: an empty folder.

        Raises:
            StepError: the model has nothing that could be changed so.
        """

    @property
    @abstractmethod
    def tuning(self) -> Tuning | None:
        """What is trained afterwards, to recover; None trains nothing."""

    @property
    @abstractmethod
    def training(self) -> Training | None:
        """How it is trained; None where ``tuning`` is."""

    @property
    def teacher_model(self) -> Model | None:
        """The model whose folder is the teacher; None takes the tuned one."""
        return None


@dataclass(frozen=True)
class Exported:
    """What an ``ExportCompression`` starts from."""

    folder: Path
    """What ``export`` wrote, or the compression before this one."""
    export: Export
    """The exporter, for methods that quantise while they export."""
    source: Path
    """The Hugging Face folder that was exported, float32."""
    data: Path
    """The folder of the data step; ``train.safetensors`` has the rows to calibrate on."""
    model: Model
    """Names the task."""


class ExportCompression(Compression):
    """An exported folder becomes a smaller one that the same engine opens."""

    exports: ClassVar[tuple[str, ...]] = ()
    """Engines of the exports that the method can compress; empty for all."""

    @abstractmethod
    def compress(self, exported: Exported, output: Path) -> None:
        """Write the compressed candidate to *output*, with all that stands beside the weights.

        What was decided on the way (calibration rows, layers that stay in float) goes into
        ``compression.json`` there, for the report.

        Raises:
            StepError: the graph has a part that the method cannot do, or there are no rows to calibrate on.
        """
