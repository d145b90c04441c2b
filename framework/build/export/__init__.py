"""Base class of the export options, which convert a merged model to the format of an engine."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from framework.core.component import Component
from framework.core.problem import Problem

Share = Annotated[float, Field(ge=0, le=1)]


class Parity(Component):
    """How closely an export must match the PyTorch model it was made from."""

    rows: Annotated[int, Field(gt=0)] = 16
    """Number of held-out rows to compare."""
    generations: Annotated[int, Field(ge=0)] = 4
    """Number of these rows whose greedy generations are compared too."""
    batched: Annotated[int, Field(ge=0)] = 8
    """Number of these rows whose greedy generations are made alone and in one batch, as the server makes
    them, where the engine can; 0 disables it."""
    max_difference: Annotated[float, Field(gt=0)] = 1e-2
    """Largest difference of a logit between the uncompressed export and PyTorch, both in float32."""
    reference_agreement: Share = 0.99
    """Minimum share of positions where the uncompressed export has the same argmax as PyTorch; of embeddings,
    the minimum cosine of a text's two vectors."""
    agreement: Share = 0.9
    """The same for a compressed export."""
    reference_generation_agreement: Share = 0.5
    """Minimum share of the uncompressed export's greedy generations that are identical to PyTorch's. A near
    tie between two tokens can make them differ."""
    generation_agreement: Share = 0.0
    """The same for a compressed export, where one different token changes all later ones; 0 disables it."""
    reference_batched_agreement: Share = 0.5
    """Minimum share of the uncompressed export's greedy generations that are identical alone and in a batch.
    Floating-point sums depend on the batch's shape, so a near tie can turn; 0 disables it."""
    batched_agreement: Share = 0.0
    """The same for a compressed export. Runtimes that round activations too, as OpenVINO does on CPUs, can
    differ in half of free texts; 0 disables it."""
    max_metric_loss: Annotated[float, Field(ge=0)] | None = None
    """Largest relative loss of the task's first metric (accuracy, exact match) against the tuned model: 0.02
    allows an accuracy of 0.80 to drop to 0.784. Where the tuned model answers no row exactly, as in free
    text, it is of perplexity: 0.02 allows 20 to rise to 20.4. Where answers are generated in a batch too, it
    also bounds their loss of exact match against the same answers alone. None disables the check."""


@dataclass(frozen=True)
class Shapes:
    """The input shapes that a compiled engine accepts."""

    max_batch: int
    """Most rows per call."""
    min_length: int
    """Tokens of the shortest row."""
    max_length: int
    """Tokens of the longest row."""


class Export(Component, ABC):
    """Convert a merged Hugging Face folder to the format of an engine."""

    engine: ClassVar[str]
    """The engine that runs what this writes: a module of ``framework.build.engine``, or the dotted path of a
    module in a plugin's own package, such as ``ourpackage.our_engine``."""

    tasks: ClassVar[tuple[str, ...]]
    """Tasks that this exporter supports."""

    impossible: ClassVar[Problem | None] = None
    """Why no plan can use it, with what to use instead; for a format that is often asked for."""

    needs_gpu: ClassVar[bool] = False
    """Whether the export runs only on an NVIDIA GPU."""

    symmetric_int8: ClassVar[bool] = False
    """Whether the engine requires symmetric int8 ranges, and of matrix products only."""

    unmerged: ClassVar[tuple[str, ...]] = ()
    """Tasks for which it supports a model with a separate adapter, which could not be merged."""

    parity: Parity = Parity()
    """The bounds of the parity gate."""

    def engine_on(self, device: str) -> str:
        """Return the engine that evaluates the export on *device*; it may differ from ``engine``.

        Args:
            device: ``cpu`` or ``cuda``.
        """
        return self.engine

    @property
    def library(self) -> str:
        """The library that compiles what ``engine`` runs; empty where nothing is compiled."""
        return ""

    @property
    def shapes(self) -> "Shapes | None":
        """The input shapes that a compiled engine accepts; None where it accepts any."""
        return None

    def problems(self, device: str, max_length: int) -> list[Problem]:
        """Return everything that cannot work.

        Args:
            device: the device of the machine that builds the plan, ``cpu`` or ``cuda``.
            max_length: the longest row, in tokens.
        """
        return []

    def unsupported(self, model_config: Mapping[str, Any]) -> str:
        """Return why it cannot export a model, as far as that is known before training; empty if it can.

        Args:
            model_config: the model's ``config.json``; of an older transformers it may lack defaults.
        """
        return ""

    def finish(self, output: Path, cache: Path) -> None:
        """Build the engine's own files from the graph in *output*, for engines that need them.

        It is called after ``write`` and after every compression, which has changed the graph.

        Args:
            output: the folder with all files of the export.
            cache: a folder for data that speeds up later builds; it may not exist yet.

        Raises:
            StepError: the engine does not support a part of the graph.
        """

    @abstractmethod
    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Export the folder *model* to *output*, with tokenizer, chat template and generation config.

        Args:
            model: a Hugging Face folder in float32.
            output: an empty folder.
            precision: ``fp32``; some exporters also support ``fp16``, or weights in ``int8`` or ``int4``.
            block_size: consecutive weights that share one scale, for ``int4``.

        Raises:
            StepError: the exporter does not support a part of the model, or *precision*.
        """

    def compress_weights(
        self, exported: Path, model: Path, output: Path, precision: str, block_size: int = 32
    ) -> None:
        """Write *exported* again with its weights in *precision*.

        By default the model is exported again, for exporters that quantize during the export. Others compress
        the existing graph.

        Args:
            exported: the output of ``write`` for *model*.
            model: a Hugging Face folder in float32.
            output: an empty folder.
            precision: ``int8`` or ``int4``.
            block_size: consecutive weights that share one scale, for ``int4``.

        Raises:
            StepError: *precision* is not supported, or *block_size* does not divide the matrices.
        """
        self.write(model, output, precision, block_size)
