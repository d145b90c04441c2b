"""Build an engine file from an ONNX graph with TensorRT or TensorRT-RTX.

Knows graphs, shapes and GPU architectures; knows neither models nor tokens.
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
"""The smallest, the optimal and the largest size of a dynamic axis."""


@dataclass(frozen=True)
class EngineOrder:
    """The settings of an engine."""

    runtime: str
    """A key of ``framework.build.engine.tensorrt_session.RUNTIMES``."""
    architecture: str
    """The GPU's compute capability, such as ``sm89``."""
    axes: Mapping[str, Range]
    """The sizes of every dynamic axis of the graph's inputs, by name."""
    tf32: bool
    """Whether tensor cores may round the inputs of float32 products to TF32."""

    @property
    def version(self) -> str:
        """The installed library's version."""
        return str(self.library().__version__)

    @property
    def file_name(self) -> str:
        """The engine's file name: it runs only on this architecture with this version of this library."""
        return f"model.{self.architecture}.{self.runtime}-{self.version}.engine"

    def library(self) -> Any:
        """Return the library's module.

        Raises:
            StepError: it is not installed, or a library that it requires is missing.
        """
        runtime = RUNTIMES[self.runtime]
        try:
            return import_module(runtime.module)
        except ImportError as error:
            raise StepError(
                f"export.runtime={self.runtime}: {error}; pip install 'gitune[{runtime.extra}]'"
            ) from error


def build_engine(order: EngineOrder, graph: Path, output: Path, cache: Path) -> Path:
    """Build the engine of *graph* and return its file, below *output*.

    TensorRT times kernels on this machine's GPU, and keeps the timings in *cache*. TensorRT-RTX builds
    without a GPU, and selects kernels when the engine is opened.

    Raises:
        StepError: an operator is not supported, an axis has no sizes, or this machine has no such GPU.
    """
    trt = order.library()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)  # owns the network's weights, so it must live as long
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
        raise StepError(f"export=tensorrt: building for {order.architecture} failed: {log.last_error()}")
    file.write_bytes(built)
    return file


def _build_here(order: EngineOrder, builder: Any, network: Any, config: Any, cache: Path) -> Any:
    """Build on this machine's GPU; reuse and extend the timings of earlier builds."""
    here = architecture_here()
    if here != order.architecture:
        raise StepError(
            "export.architecture: TensorRT must build on the GPU that will run the engine, "
            f"{order.architecture}; this machine has {here or 'none'}; set export.runtime=tensorrt-rtx, or "
            "build on such a GPU"
        )
    timings = cache / "tensorrt" / f"{order.architecture}-{order.version}.timings"
    earlier = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
    config.set_timing_cache(earlier, ignore_mismatch=False)
    built = builder.build_serialized_network(network, config)
    write_whole(timings, bytes(config.get_timing_cache().serialize()))
    return built


def _parse(order: EngineOrder, parser: Any, graph: Path) -> None:
    if parser.parse_from_file(str(graph)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    reasons = "; ".join(dict.fromkeys(f"{error.node_operator()}: {error.desc()}" for error in errors))
    raise StepError(
        f"export=tensorrt: {order.runtime} does not support the graph ({reasons}); set export=onnx"
    )


def profile_of(order: EngineOrder, builder: Any, network: Any) -> Any:
    """Return the optimization profile: smallest, optimal and largest shape of every input."""
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        ranges = [_sizes(order, tensor, axis) for axis in range(len(tensor.shape))]
        profile.set_shape(tensor.name, *zip(*ranges, strict=True))
    return profile


def _sizes(order: EngineOrder, tensor: Any, axis: int) -> Range:
    size, name = tensor.shape[axis], tensor.get_dimension_name(axis)
    if size >= 0:
        return size, size, size
    if name == "past" and (order.axes["batch"][0], order.axes["sequence"][0]) != (1, 1):
        raise StepError(
            "export=tensorrt: generation runs one row and one token at a time; set export.batch.min=1 "
            "export.length.min=1"
        )
    if name not in order.axes:
        raise StepError(
            f"export=tensorrt: the dynamic axis '{name}' of the input {tensor.name} is not one of "
            f"{', '.join(order.axes)}; export the model again"
        )
    return order.axes[name]


def _log(trt: Any) -> Any:
    """Return a logger that records errors and prints nothing."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)

        def last_error(self) -> str:
            return self.errors[-1].partition("\n")[0] if self.errors else "the library reported no reason"

    return Log()
