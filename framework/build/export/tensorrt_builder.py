"""From an ONNX graph to an engine file, by TensorRT or TensorRT-RTX.

It knows graphs, shapes and GPU architectures; neither models nor tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from framework.build.engine.tensorrt_session import RUNTIMES, architecture_here
from framework.core.errors import StepError
from framework.core.filesystem import write_whole

Range = tuple[int, int, int]
"""The least, the usual and the greatest size of a free axis."""


@dataclass(frozen=True)
class EngineOrder:
    """What engine is wanted of a graph."""

    runtime: str
    """A key of ``framework.build.engine.tensorrt_session.RUNTIMES``."""
    architecture: str
    """The GPU's compute capability, such as ``sm89``."""
    axes: Mapping[str, Range]
    """The sizes of every free axis of the graph's inputs, by the axis's name."""
    tf32: bool
    """Whether tensor cores may round the factors of float32 products to 10 bits."""

    @property
    def version(self) -> str:
        """The installed library's version."""
        return str(self.library().__version__)

    @property
    def file_name(self) -> str:
        """The engine's: it runs on this architecture, by this version of this library, and on no other."""
        return f"model.{self.architecture}.{self.runtime}-{self.version}.engine"

    def library(self) -> Any:
        """Return the library's module.

        Raises:
            StepError: it is not installed, or lacks what it needs on this machine.
        """
        chosen = RUNTIMES[self.runtime]
        try:
            return import_module(chosen.module)
        except ImportError as error:
            raise StepError(
                f"export.runtime={self.runtime}: {error}; pip install 'gitune[{chosen.extra}]'"
            ) from error


def build_engine(order: EngineOrder, graph: Path, output: Path, cache: Path) -> Path:
    """Build the engine of *graph* and return its file, below *output*.

    TensorRT times kernels on the GPU itself, and keeps what it learnt in *cache*; TensorRT-RTX leaves
    that to the GPU which will run the engine, and needs none to build.

    Raises:
        StepError: an operator is unknown, an axis has no sizes, or no such GPU can run the graph.
    """
    trt = order.library()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)  # it owns the network's weights, so it must live as long
    _parse(order, parser, graph)
    config = builder.create_builder_config()
    config.add_optimization_profile(profile_of(order, builder, network))
    if not order.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    file = output / order.file_name
    if order.runtime == "tensorrt-rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, order.architecture.upper()), 0)
        built = builder.build_serialized_network(network, config)
    else:
        built = _build_here(order, builder, network, config, cache)
    if built is None:
        raise StepError(f"export=tensorrt: no engine for {order.architecture}: {log.last_error()}")
    file.write_bytes(built)
    return file


def _build_here(order: EngineOrder, builder: Any, network: Any, config: Any, cache: Path) -> Any:
    """Build on this machine's GPU, with and for the timings of earlier builds."""
    here = architecture_here()
    if here != order.architecture:
        raise StepError(
            f"export.architecture={order.architecture}: TensorRT builds on the GPU that will run the engine, "
            f"and here is {here or 'none'}; set export.runtime=tensorrt-rtx, or build on such a machine"
        )
    timings = cache / "tensorrt" / f"{order.architecture}-{order.version}.timings"
    known = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
    config.set_timing_cache(known, ignore_mismatch=False)
    built = builder.build_serialized_network(network, config)
    write_whole(timings, bytes(config.get_timing_cache().serialize()))
    return built


def _parse(order: EngineOrder, parser: Any, graph: Path) -> None:
    if parser.parse_from_file(str(graph)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    said = "; ".join(dict.fromkeys(f"{error.node_operator()}: {error.desc()}" for error in errors))
    raise StepError(f"export=tensorrt: {order.runtime} cannot express the graph ({said}); set export=onnx")


def profile_of(order: EngineOrder, builder: Any, network: Any) -> Any:
    """Return the sizes between which every input's shape may lie, and the one to be fastest at."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        given = network.get_input(index)
        ranges = [_sizes(order, given, axis) for axis in range(len(given.shape))]
        profile.set_shape(given.name, *zip(*ranges, strict=True))
    return profile


def _sizes(order: EngineOrder, given: Any, axis: int) -> Range:
    size, name = given.shape[axis], given.get_dimension_name(axis)
    if size >= 0:
        return size, size, size
    if name == "past" and (order.axes["batch"][0], order.axes["sequence"][0]) != (1, 1):
        raise StepError(
            "export=tensorrt: a language model writes one row, one token at a time; set export.batch.min=1 "
            "export.length.min=1"
        )
    if name not in order.axes:
        raise StepError(
            f"export=tensorrt: the free axis '{name}' of the input {given.name} is none of "
            f"{', '.join(order.axes)}; export the model again"
        )
    return order.axes[name]


def _log(trt: Any) -> Any:
    """Return a logger that keeps errors and shows nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

        def last_error(self) -> str:
            return self.errors[-1].partition("\n")[0] if self.errors else "the library named no reason"

    return Log()
