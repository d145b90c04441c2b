"""An engine file of TensorRT or TensorRT-RTX on the GPU, called by input names as an ONNX Runtime session is.

It knows tensors; no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np
    import torch

DESCRIPTION = "engine.json"
"""Beside the engine file: its name, the library and GPU that it was built with, and its input shapes."""
_KINDS = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "BOOL": "bool",
}
"""The torch type of each TensorRT type that an engine's inputs and outputs have."""


@dataclass(frozen=True)
class Runtime:
    """One of NVIDIA's two libraries; they share their Python interface."""

    module: str
    distribution: str
    extra: str
    """The extra of gitune that installs it."""
    architectures: tuple[str, ...]
    """The compute capabilities of the GPUs that it builds for."""


RUNTIMES = {
    "tensorrt": Runtime(
        "tensorrt",
        "tensorrt",
        "gpu",
        ("sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm103", "sm120", "sm121"),
    ),
    "tensorrt-rtx": Runtime(
        "tensorrt_rtx", "tensorrt-rtx-cu13", "tensorrt-rtx", ("sm80", "sm86", "sm89", "sm120", "sm121")
    ),
}


def architecture_here() -> str | None:
    """Return the compute capability of this machine's first GPU, such as ``sm89``; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return f"sm{major}{minor}"


def read_engine(folder: Path, about: dict[str, Any]) -> Any:
    """Return the ``ICudaEngine`` in *folder*.

    Args:
        folder: an export of ``export=tensorrt``.
        about: its engine.json.

    Raises:
        ServeError: the library is missing, has another version, or cannot read the file.
    """
    runtime, file = RUNTIMES[about["runtime"]], folder / about["engine"]
    pinned = f"{runtime.distribution}=={about['version']}"
    try:
        trt = import_module(runtime.module)
    except ImportError:
        raise ServeError(f"{file}: needs {pinned}; pip install 'gitune[{runtime.extra}]' {pinned}") from None
    if trt.__version__ != about["version"]:
        raise ServeError(
            f"{file}: built with {pinned}, but {trt.__version__} is installed; pip install {pinned}, "
            "or export the model again"
        )
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(file.read_bytes())
    if engine is None:
        raise ServeError(f"{file}: {runtime.distribution} cannot read it; export the model again")
    return engine


@dataclass(frozen=True)
class Binding:
    """One input or output of an engine."""

    name: str
    shape: tuple[int, ...]
    """Its sizes; -1 for a dynamic axis."""


class Session:
    """An engine on the GPU, with the interface of ``onnxruntime.InferenceSession``."""

    def __init__(self, engine: Any, folder: Path) -> None:
        import torch

        self.engine, self.folder = engine, folder
        self.context = engine.create_execution_context()
        self.stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types here
        # An empty tensor has no address, but an engine needs one for every binding.
        self.placeholder = torch.empty(1, device="cuda")

    def get_inputs(self) -> list[Binding]:
        """Return the inputs in the engine's order."""
        return self._bindings("INPUT")

    def get_outputs(self) -> list[Binding]:
        """Return the outputs in the engine's order."""
        return self._bindings("OUTPUT")

    def run(self, feeds: "Mapping[str, np.ndarray | torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Return every output, on the GPU.

        Args:
            feeds: every input, on the CPU or already on the GPU.

        Raises:
            ServeError: a shape is outside the engine's profile, or the GPU failed.
        """
        import torch

        with torch.cuda.stream(self.stream):
            inputs = {name: torch.as_tensor(array, device="cuda") for name, array in feeds.items()}
            for name, tensor in inputs.items():
                self._bind_input(name, tensor)
            outputs = {output.name: self._bind_output(output.name) for output in self.get_outputs()}
            if not self.context.execute_async_v3(self.stream.cuda_stream):
                raise ServeError(f"{self.folder}: the GPU could not run the engine; export the model again")
        self.stream.synchronize()  # the inputs must live until then
        return outputs

    def _bindings(self, mode: str) -> list[Binding]:
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        return [
            Binding(name, tuple(self.engine.get_tensor_shape(name)))
            for name in names
            if self.engine.get_tensor_mode(name).name == mode
        ]

    def _bind_input(self, name: str, tensor: "torch.Tensor") -> None:
        if not self.context.set_input_shape(name, tuple(tensor.shape)):
            raise ServeError(
                f"{self.folder}: {name} of shape {tuple(tensor.shape)} is outside the engine's profile; "
                "widen export.batch or export.length and export the model again"
            )
        self._bind(name, tensor)

    def _bind_output(self, name: str) -> "torch.Tensor":
        import torch

        kind = getattr(torch, _KINDS[self.engine.get_tensor_dtype(name).name])
        tensor = torch.empty(tuple(self.context.get_tensor_shape(name)), dtype=kind, device="cuda")
        self._bind(name, tensor)
        return tensor

    def _bind(self, name: str, tensor: "torch.Tensor") -> None:
        self.context.set_tensor_address(name, tensor.data_ptr() or self.placeholder.data_ptr())


def check_length(tokens: int, longest: int) -> None:
    """Check that the engine's profile covers a row's length.

    Raises:
        ServeError: the row is too long.
    """
    if tokens > longest:
        raise ServeError(
            f"a row has {tokens} tokens, but the engine was built for {longest}; shorten it, or export "
            f"again with export.length.max={tokens}"
        )
