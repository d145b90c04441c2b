"""An engine for one NVIDIA GPU architecture, by TensorRT or TensorRT-RTX."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.engine.model_folder import context_length
from framework.build.engine.tensorrt_session import DESCRIPTION, RUNTIMES
from framework.build.export import Shapes
from framework.build.export.onnx import Onnx
from framework.build.export.tensorrt_builder import EngineOrder, Range, build_engine
from framework.core.component import Component
from framework.core.errors import StepError
from framework.core.filesystem import sha256_of
from framework.core.problem import Problem

Size = Annotated[int, Field(ge=1)]


class Sizes(Component):
    """Which sizes of one axis the engine takes; others are refused when it runs."""

    min: Size = 1
    """The least."""
    opt: Size
    """The one that it is to be fastest at."""
    max: Size
    """The greatest: what memory is reserved for."""

    @property
    def range(self) -> Range:
        """The three of them, from the least to the greatest."""
        return self.min, self.opt, self.max

    @model_validator(mode="after")
    def _in_order(self) -> "Sizes":
        if not self.min <= self.opt <= self.max:
            raise PydanticCustomError(
                "crossed_sizes",
                "'min' ({min}), 'opt' ({opt}) and 'max' ({max}) must not fall",
                {"min": self.min, "opt": self.opt, "max": self.max},
            )
        return self


class TensorRT(Onnx):
    """``model.onnx``, the engine that is built of it, and ``engine.json``, which says what it takes.

    The network is strongly typed: its precision is that of the graph, so ``compression=fp16`` or an
    8-bit graph with scales make an engine of fewer bits. Where no GPU is, ONNX Runtime judges the graph.
    """

    engine: ClassVar[str] = "tensorrt"
    needs_gpu: ClassVar[bool] = True

    runtime: Literal["tensorrt", "tensorrt-rtx"] = "tensorrt-rtx"
    """The library: ``tensorrt`` builds on the GPU that will run the engine and times kernels there,
    ``tensorrt-rtx`` builds on any machine and compiles kernels when the engine is opened."""
    architecture: Literal[
        "sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm103", "sm120", "sm121"
    ] = "sm89"
    """The GPU's compute capability: sm80 is A100, sm86 A10, sm89 L4 and RTX 40, sm90 H100, sm120 RTX 50."""
    batch: Sizes = Sizes(opt=8, max=32)
    """Rows in one call; more are split."""
    length: Sizes = Sizes(opt=64, max=512)
    """Tokens of the longest row in a call; longer rows are refused. A language model answers with as many."""
    tf32: bool = False
    """Whether tensor cores may round the factors of float32 products to 10 bits: faster, less equal."""

    @model_validator(mode="after")
    def _builds_for_it(self) -> "TensorRT":
        known = RUNTIMES[self.runtime].architectures
        if self.architecture not in known:
            raise PydanticCustomError(
                "unknown_architecture",
                "{runtime} builds for {known}, not for {wanted}; set export.runtime=tensorrt",
                {"runtime": self.runtime, "known": ", ".join(known), "wanted": self.architecture},
            )
        return self

    def requires(self) -> Mapping[str, str]:
        """Return the library, whose version is the engine's; see the base class."""
        chosen = RUNTIMES[self.runtime]
        return {chosen.distribution: chosen.extra}

    def engine_on(self, device: str) -> str:
        """Return the engine itself on a GPU, else ONNX Runtime, which runs the same graph."""
        return self.engine if device == "cuda" else super().engine

    @property
    def library(self) -> str:
        """The library that builds the engine."""
        return self.runtime

    @property
    def shapes(self) -> Shapes:
        """The bounds of ``batch`` and ``length``."""
        return Shapes(self.batch.max, self.length.min, self.length.max)

    def problems(self, device: str, max_length: int) -> list[Problem]:
        """Return a library that cannot build on *device*, and rows that the engine would refuse."""
        problems = []
        if self.runtime == "tensorrt" and device == "cpu":
            reason = "tensorrt builds on the GPU that will run the engine; environment.hardware.device is cpu"
            problems.append(Problem("export.runtime", reason, ("export.runtime=tensorrt-rtx",)))
        if max_length > (longest := self.length.max):
            reason = f"the engine accepts rows of up to {longest} tokens; the data has up to {max_length}"
            overrides = (f"export.length.max={max_length}", f"data.max_length={longest}")
            problems.append(Problem("export.length.max", reason, overrides))
        return problems

    def finish(self, output: Path, cache: Path) -> None:
        """Build the engine of ``model.onnx``; see the base class."""
        context, longest = context_length(output), self.length.max
        if context is not None and longest > context:
            raise StepError(
                f"export.length.max={longest}: the model sees {context}; set export.length.max={context}"
            )
        order = EngineOrder(self.runtime, self.architecture, self.axes(), self.tf32)
        graph = output / "model.onnx"
        file = build_engine(order, graph, output, cache)
        about = {
            "engine": file.name,
            "runtime": self.runtime,
            "version": order.version,
            "architecture": self.architecture,
            "profile": {"batch": self.batch.range, "length": self.length.range},
            "graph_sha256": sha256_of(graph),
        }
        (output / DESCRIPTION).write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")

    def axes(self) -> dict[str, Range]:
        """Return the sizes of every free axis that our graphs have, by its name there.

        A language model has its cache as inputs: as many positions as a prompt may have. What is
        attended to is prompt and cache together.
        """
        least, usual, most = self.length.range
        return {
            "batch": self.batch.range,
            "sequence": self.length.range,
            "past": (0, usual, most),
            "total": (least, 2 * usual, 2 * most),
        }
