"""The base of every compression option: how a model is made smaller, before its export or after it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from framework.build.export import Export
from framework.build.model import Model
from framework.build.parallelism import Parallelism
from framework.build.training import Training
from framework.build.tuning import Tuning
from framework.build.tuning.full import Full
from framework.core.component import Component
from framework.core.problem import Problem


class Compression(Component, ABC):
    """One way to make a model smaller; several are applied in the order in which they are chosen."""

    label: ClassVar[str]
    """The candidate's name in metrics and reports, such as ``int4``."""

    changes_nothing: ClassVar[bool] = False
    """True of the option that stands for no compression."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks of the models that it can compress; empty for all."""

    plain_weights: ClassVar[bool] = False
    """Whether it needs a model that keeps no adapter beside its weights."""

    impossible: ClassVar[Problem | None] = None
    """Why no plan can use it, with what to use instead; for a method that is often asked for."""


class ModelCompression(Compression):
    """A Hugging Face folder becomes another one: reshaped, then trained again, or one of the two.

    It comes before every ``ExportCompression``. What it makes is a candidate that torch evaluates.
    """

    plain_weights: ClassVar[bool] = True

    undone_by_training: ClassVar[str] = ""
    """What another training after it would undo, such as ``its zeros``; empty for nothing."""

    training: Training | None = None
    """How the model is trained again once it is changed; None leaves it as ``reshape`` wrote it."""

    @property
    def reshapes(self) -> bool:
        """Whether ``reshape`` has something to do."""
        return type(self).reshape is not ModelCompression.reshape

    @property
    def tuning(self) -> Tuning | None:
        """What is trained again: every weight, or None where nothing is."""
        return None if self.training is None else Full()

    @property
    def taught(self) -> bool:
        """Whether its training needs ``Folders.teacher``: ``teacher_model``'s, or the tuned model's."""
        return self.training is not None and self.training.taught

    @property
    def teacher_model(self) -> Model | None:
        """The model whose folder is the teacher; None takes the tuned one, before all compression."""
        return None

    def problems(self, model: Model, parallelism: Parallelism) -> list[Problem]:
        """Return everything that cannot work; keys and overrides of its own fields are relative to it.

        Args:
            model: the model to compress.
            parallelism: the layout that it is trained in.
        """
        if self.taught and parallelism.ways:
            return [Problem("training", "the teacher cannot be sharded", ("parallelism=ddp",))]
        return []

    def cautions(self, before: Sequence[Compression], after: Sequence[Compression]) -> list[Problem]:
        """Return everything that works but may surprise, as ``problems`` does.

        Args:
            before: the compressions applied before it.
            after: the compressions applied after it, to the model or to its export.
        """
        return []

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
        raise NotImplementedError(f"{self.label}: only training changes the model")


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

    bits: ClassVar[Literal[4, 8, 16]]
    """How many bits it claims that a weight takes; the parity stage opens the files and counts."""

    least_share: ClassVar[float] = 0.5
    """Least share of the multiplied weights that must take so few bits, embeddings not counted; the gate
    asks for it."""

    def requires_for(self, engine: str) -> Mapping[str, str]:
        """Return the packages that it needs for exports of *engine* only; see ``requires``."""
        return {}

    @abstractmethod
    def compress(self, exported: Exported, output: Path) -> None:
        """Write the compressed candidate to *output*, with all that stands beside the weights.

        What was decided on the way (calibration rows, layers that stay in float) goes into
        ``compression.json`` there, for the report.

        Raises:
            StepError: the graph has a part that the method cannot do, or there are no rows to calibrate on.
        """
