"""The base of every export option: how a merged model becomes what an engine serves."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.core.component import Component
from framework.core.problem import Problem

Share = Annotated[float, Field(ge=0, le=1)]


class Parity(Component):
    """How far the exported model may be from the PyTorch model that it was made of."""

    rows: Annotated[int, Field(gt=0)] = 16
    """Held-out rows that are compared."""
    generations: Annotated[int, Field(ge=0)] = 4
    """How many of them are also generated from, token by token, and compared whole."""
    max_difference: Annotated[float, Field(gt=0)] = 1e-2
    """Most that a logit of the uncompressed export may differ from PyTorch, float32 on both sides."""
    reference_agreement: Share = 0.99
    """Least share of compared positions where the uncompressed export has PyTorch's arg-max."""
    agreement: Share = 0.9
    """Least share of compared positions where a compressed export has PyTorch's arg-max."""
    reference_generation_agreement: Share = 0.5
    """Least share of whole greedy generations that the uncompressed export gives as PyTorch does; a near
    tie of two tokens may part them."""
    generation_agreement: Share = 0.0
    """The same of a compressed export, where one token changes all that follow it; 0 asks nothing."""
    max_metric_loss: Annotated[float, Field(ge=0)] | None = None
    """Most of the task's main metric that an export may lose against the tuned model, as a share of it:
    0.02 lets an accuracy of 0.80 fall to 0.784, or a perplexity of 20 rise to 20.4. None asks nothing."""


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
    """How a merged Hugging Face folder becomes a folder that an engine serves."""

    engine: ClassVar[str]
    """The engine that runs what this writes: a module of ``framework.build.engine``, or the dotted path of a
    module in a plugin's own package, such as ``ourpackage.our_engine``."""

    tasks: ClassVar[tuple[str, ...]]
    """The tasks that this exporter can express."""

    impossible: ClassVar[Problem | None] = None
    """Why no plan can use it, with what to use instead; for a format that is often asked for."""

    needs_gpu: ClassVar[bool] = False
    """Whether what it writes runs on an NVIDIA GPU alone."""

    unmerged: ClassVar[tuple[str, ...]] = ()
    """The tasks whose folders it takes although an adapter could not become part of the weights."""

    parity: Parity = Parity()
    """The bounds of the parity gate."""

    def engine_on(self, device: str) -> str:
        """Return the engine that measures what this writes: on some devices another than ``engine``.

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

    def finish(self, output: Path, cache: Path) -> None:
        """Make of the graph in *output* what the engine opens, where that is more than the graph.

        It follows ``write``, and every compression, which has changed the graph.

        Args:
            output: the folder, with all that ``write`` or a compression has written.
            cache: a folder for what makes the next such work shorter; it may not be there yet.

        Raises:
            StepError: the graph has a part that cannot be expressed.
        """

    @abstractmethod
    def write(self, model: Path, output: Path, precision: str = "fp32", block_size: int = 32) -> None:
        """Export the folder *model* to *output*, with tokenizer, chat template and generation config.

        Args:
            model: a Hugging Face folder in float32.
            output: an empty folder.
            precision: ``fp32``; some exporters also write ``fp16``, or weights in ``int8`` or ``int4``.
            block_size: weights that share one scale, where *precision* has scales.

        Raises:
            StepError: the model has a part that cannot be exported.
        """

    def compress_weights(
        self, exported: Path, model: Path, output: Path, precision: str, block_size: int = 32
    ) -> None:
        """Write *exported* once more with its weights in *precision*, ``int8`` or ``int4``.

        By default the model is exported again, by exporters that quantise while they export; the others
        take the graph that is there already.

        Args:
            exported: what ``write`` wrote of *model*.
            model: a Hugging Face folder in float32.
            output: an empty folder.
            precision: ``int8`` or ``int4``.
            block_size: weights that share one scale.

        Raises:
            StepError: the exporter cannot, or the blocks do not suit the model's matrices.
        """
        self.write(model, output, precision, block_size)
