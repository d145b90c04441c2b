"""Base classes of the compression options, which shrink a model before or after its export."""

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
    """One way to make a model smaller. Several are applied in the order in which they are listed."""

    label: ClassVar[str]
    """The candidate's name in metrics and reports, such as ``int4``."""

    changes_nothing: ClassVar[bool] = False
    """True for the option that means no compression."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """Tasks of the models it can compress; empty for all."""

    plain_weights: ClassVar[bool] = False
    """Whether it requires a model without a separate adapter."""

    impossible: ClassVar[Problem | None] = None
    """Why no plan can use it, with what to use instead; for a method that is often asked for."""


class ModelCompression(Compression):
    """Change a Hugging Face folder before its export: reshape the model, train it again, or both.

    It runs before every ``ExportCompression``. The result is a candidate, evaluated with PyTorch.
    """

    plain_weights: ClassVar[bool] = True

    undone_by_training: ClassVar[str] = ""
    """What a later training would undo, such as ``its zeros``; empty if nothing."""

    training: Training | None = None
    """How the reshaped model is trained to recover; None skips that training."""

    @property
    def reshapes(self) -> bool:
        """Whether the option overrides ``reshape``."""
        return type(self).reshape is not ModelCompression.reshape

    @property
    def tuning(self) -> Tuning | None:
        """The tuning method of ``training``: full fine-tuning, or None without a training."""
        return None if self.training is None else Full()

    @property
    def taught(self) -> bool:
        """Whether its training needs a teacher in ``Folders.teacher``."""
        return self.training is not None and self.training.taught

    @property
    def teacher_model(self) -> Model | None:
        """The teacher; None is the tuned model before any compression."""
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
        """Write the changed model as a folder that unmodified transformers can open.

        Args:
            model: opens *folder* and names the task.
            folder: the Hugging Face folder, float32.
            data: the folder of the data step, for methods that need training rows.
            output: an empty folder.

        Raises:
            StepError: the model has nothing that this method can change.
        """
        raise NotImplementedError(f"{self.label}: only training changes the model")


@dataclass(frozen=True)
class Exported:
    """Input of an ``ExportCompression``."""

    folder: Path
    """The output of ``export``, or of the previous compression."""
    export: Export
    """The exporter, for methods that quantize during the export."""
    source: Path
    """The Hugging Face folder that was exported, float32."""
    data: Path
    """The folder of the data step; ``train.safetensors`` has the rows to calibrate on."""
    model: Model
    """Names the task."""


class ExportCompression(Compression):
    """Turn an exported folder into a smaller one for the same engine."""

    exports: ClassVar[tuple[str, ...]] = ()
    """Engines whose exports the method can compress; empty for all."""

    bits: ClassVar[Literal[4, 8, 16]]
    """Bits of a compressed weight. The parity stage verifies it by reading the files."""

    least_share: ClassVar[float] = 0.5
    """Minimum share of the matrix-multiplication weights, embeddings excluded, stored in ``bits`` or fewer.
    The export gate checks it."""

    def requires_for(self, engine: str) -> Mapping[str, str]:
        """Return the packages that it needs for exports of *engine* only; see ``requires``."""
        return {}

    @abstractmethod
    def compress(self, exported: Exported, output: Path) -> None:
        """Write the compressed candidate to *output*, with tokenizer, chat template and configs.

        Decisions made on the way (calibration rows, layers kept in float) are recorded in
        ``compression.json`` for the report.

        Raises:
            StepError: the method does not support a part of the graph, or there are no calibration rows.
        """
