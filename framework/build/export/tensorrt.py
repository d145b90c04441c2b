"""Export to an engine for one NVIDIA GPU architecture, with TensorRT or TensorRT-RTX."""

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
    """The sizes of one axis that the engine supports; it rejects others at run time."""

    min: Size = 1
    """The smallest size."""
    opt: Size
    """The size that kernels are optimized for."""
    max: Size
    """The largest size; memory is reserved for it."""

    @property
    def range(self) -> Range:
        """All three, in ascending order."""
        return self.min, self.opt, self.max

    @model_validator(mode="after")
    def _in_order(self) -> "Sizes":
        if not self.min <= self.opt <= self.max:
            raise PydanticCustomError(
                "crossed_sizes",
                "'min' ({min}), 'opt' ({opt}) and 'max' ({max}) should be in ascending order",
                {"min": self.min, "opt": self.opt, "max": self.max},
            )
        return self


class TensorRT(Onnx):
    """``model.onnx``, the engine built from it, and ``engine.json``, which describes the engine.

    The network is strongly typed: the engine has the precision of the graph. For fewer bits, use
    ``compression=fp16`` or an 8-bit graph with scales. Without a GPU, ONNX Runtime evaluates the graph.
    """

    engine: ClassVar[str] = "tensorrt"
    needs_gpu: ClassVar[bool] = True
    symmetric_int8: ClassVar[bool] = True

    runtime: Literal["tensorrt", "tensorrt-rtx"] = "tensorrt-rtx"
    """The library. ``tensorrt`` builds on the GPU that will run the engine, and times kernels there.
    ``tensorrt-rtx`` builds on any machine, and compiles kernels when the engine is opened."""
    architecture: Literal[
        "sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm103", "sm120", "sm121"
    ] = "sm89"
    """The GPU's compute capability: sm80 is A100, sm86 A10, sm89 L4 and RTX 40, sm90 H100, sm120 RTX 50."""
    batch: Sizes = Sizes(opt=8, max=32)
    """Rows per call; larger batches are split."""
    length: Sizes = Sizes(opt=64, max=512)
    """Tokens of the longest row per call; longer rows are rejected. A language model generates as many."""
    tf32: bool = False
    """Whether tensor cores may round the inputs of float32 products to TF32: faster, less accurate."""

    @model_validator(mode="after")
    def _builds_for_it(self) -> "TensorRT":
        supported = RUNTIMES[self.runtime].architectures
        if self.architecture not in supported:
            raise PydanticCustomError(
                "unknown_architecture",
                "{runtime} supports {supported}, not {architecture}; set export.runtime=tensorrt",
                {
                    "runtime": self.runtime,
                    "supported": ", ".join(supported),
                    "architecture": self.architecture,
                },
            )
        return self

    def requires(self) -> Mapping[str, str]:
        """Return the library, whose version the engine depends on; see the base class."""
        runtime = RUNTIMES[self.runtime]
        return {runtime.distribution: runtime.extra}

    def engine_on(self, device: str) -> str:
        """Return TensorRT on a GPU, else ONNX Runtime, which runs the same graph."""
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
        """Build the engine from ``model.onnx``; see the base class."""
        context, longest = context_length(output), self.length.max
        if context is not None and longest > context:
            raise StepError(
                f"export.length.max: {longest} exceeds the model's context of {context} tokens; "
                f"set export.length.max={context}"
            )
        order = EngineOrder(self.runtime, self.architecture, self.axes(), self.tf32)
        graph = output / "model.onnx"
        file = build_engine(order, graph, output, cache)
        description = {
            "engine": file.name,
            "runtime": self.runtime,
            "version": order.version,
            "architecture": self.architecture,
            "profile": {"batch": self.batch.range, "length": self.length.range},
            "graph_sha256": sha256_of(graph),
        }
        (output / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")

    def axes(self) -> dict[str, Range]:
        """Return the sizes of every dynamic axis of our graphs, by name.

        The cache of a language model holds up to as many positions as a prompt; ``total`` is cache and prompt
        together.
        """
        smallest, optimal, largest = self.length.range
        return {
            "batch": self.batch.range,
            "sequence": self.length.range,
            "past": (0, optimal, largest),
            "total": (smallest, 2 * optimal, 2 * largest),
        }
