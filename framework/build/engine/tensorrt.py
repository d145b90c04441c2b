"""TensorRT and TensorRT-RTX: an engine file on the one GPU architecture that it was built for.

The engine is asked as an ONNX Runtime session is, so that rows are prepared in one place for both.
It knows token ids and arrays; neither text nor labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine.model_folder import pad_token, read_json
from framework.build.engine.onnxruntime import PAST, OnnxRuntimeEngine
from framework.build.engine.padded_batches import padded
from framework.build.engine.text_engine import TextEngine
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np
    import torch

DESCRIPTION = "engine.json"
"""Beside the engine file: its name, what it was built by and for, and the shapes that it takes."""
_KINDS = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "bfloat16",
    "INT64": "int64",
    "INT32": "int32",
    "BOOL": "bool",
}
"""torch's name for each type of TensorRT's that an engine here takes or gives."""


@dataclass(frozen=True)
class Runtime:
    """One of NVIDIA's two libraries, which share their Python interface."""

    module: str
    distribution: str
    extra: str
    """The extra of gitune that installs it."""
    architectures: tuple[str, ...]
    """The GPUs that it builds for, as compute capabilities."""


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


def open_folder(folder: Path, threads: int = 0) -> TextEngine:
    """Open the engine file that engine.json names.

    Args:
        folder: what ``export=tensorrt`` wrote.
        threads: of no meaning on a GPU.

    Raises:
        ServeError: there is no engine, this machine's GPU is another one than it was built for, or the
            library is missing or of another version.
    """
    about = read_json(folder, DESCRIPTION)
    if not about or not (folder / about["engine"]).is_file():
        raise ServeError(f"{folder}: holds no TensorRT engine; export the model again with export=tensorrt")
    here, wanted = architecture_here(), about["architecture"]
    if here != wanted:
        found = f"the one here is {here}" if here else "torch finds none here"
        mend = f"set export.architecture={here}" if here else "set export=onnx, or open it on such a machine"
        raise ServeError(f"{folder / about['engine']}: needs a GPU of {wanted}, and {found}; {mend}")
    session = Session(_deserialise(folder, about), folder)
    if any(given.name.startswith(PAST) for given in session.get_inputs()):
        from framework.build.engine.tensorrt_decoder import TensorRTDecoder

        return TensorRTDecoder(session, folder, about["profile"])
    return TensorRTEngine(session, about["profile"], pad_token(folder))


def _deserialise(folder: Path, about: dict[str, Any]) -> Any:
    runtime, file = RUNTIMES[about["runtime"]], folder / about["engine"]
    pinned = f"{runtime.distribution}=={about['version']}"
    try:
        trt = import_module(runtime.module)
    except ImportError:
        raise ServeError(f"{file}: needs {pinned}; pip install 'gitune[{runtime.extra}]' {pinned}") from None
    if trt.__version__ != about["version"]:
        raise ServeError(
            f"{file}: was built by {pinned}, installed is {trt.__version__}; pip install {pinned}, "
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
    """Its sizes, -1 where an axis is free."""


class Session:
    """An engine on the GPU, asked by the names of its inputs as ``onnxruntime.InferenceSession`` is."""

    def __init__(self, engine: Any, folder: Path) -> None:
        import torch

        self.engine, self.folder = engine, folder
        self.context = engine.create_execution_context()
        self.stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch has no types here
        # An empty tensor has no address, and an engine wants one for every binding.
        self.nowhere = torch.empty(1, device="cuda")

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
            ServeError: the engine takes no such shapes, or the GPU failed.
        """
        import torch

        with torch.cuda.stream(self.stream):
            given = {name: torch.as_tensor(array, device="cuda") for name, array in feeds.items()}
            for name, tensor in given.items():
                self._take(name, tensor)
            found = {output.name: self._room(output.name) for output in self.get_outputs()}
            if not self.context.execute_async_v3(self.stream.cuda_stream):
                raise ServeError(f"{self.folder}: the GPU could not run the engine; export the model again")
        self.stream.synchronize()  # what was given must live as long
        return found

    def _bindings(self, mode: str) -> list[Binding]:
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        return [
            Binding(name, tuple(self.engine.get_tensor_shape(name)))
            for name in names
            if self.engine.get_tensor_mode(name).name == mode
        ]

    def _take(self, name: str, tensor: "torch.Tensor") -> None:
        if not self.context.set_input_shape(name, tuple(tensor.shape)):
            raise ServeError(
                f"{self.folder}: the engine takes no {name} of shape {tuple(tensor.shape)}; "
                "widen export.batch or export.length and export the model again"
            )
        self._bind(name, tensor)

    def _room(self, name: str) -> "torch.Tensor":
        import torch

        kind = getattr(torch, _KINDS[self.engine.get_tensor_dtype(name).name])
        tensor = torch.empty(tuple(self.context.get_tensor_shape(name)), dtype=kind, device="cuda")
        self._bind(name, tensor)
        return tensor

    def _bind(self, name: str, tensor: "torch.Tensor") -> None:
        self.context.set_tensor_address(name, tensor.data_ptr() or self.nowhere.data_ptr())


class TensorRTEngine(OnnxRuntimeEngine):
    """An open classifier, which takes only so many rows of only such lengths at once."""

    runtime: ClassVar[str] = "tensorrt"

    def __init__(self, session: Session, profile: dict[str, list[int]], pad: int) -> None:
        super().__init__(session, [given.name for given in session.get_inputs()], pad)
        self.least_rows, _, self.most_rows = profile["batch"]
        self.shortest, _, self.longest = profile["length"]

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes), by as many calls as it takes.

        Raises:
            ServeError: a row is longer than the engine was built for.
        """
        import numpy as np

        longest = max(map(len, rows))
        check_length(longest, self.longest)
        ids, mask = padded(rows, self.pad)
        width = [(0, 0), (0, max(0, self.shortest - longest))]
        ids, mask = np.pad(ids, width, constant_values=self.pad), np.pad(mask, width)
        parts = []
        for first in range(0, len(rows), self.most_rows):
            taken = np.arange(first, min(first + self.most_rows, len(rows)))
            filled = np.pad(taken, (0, max(0, self.least_rows - len(taken))), mode="edge")
            fed = {"input_ids": ids[filled], "attention_mask": mask[filled]}
            fed["token_type_ids"] = np.zeros_like(fed["input_ids"])
            scores = self.session.run({name: fed[name] for name in self.inputs})["logits"]
            parts.append(scores[: len(taken)].float().cpu().numpy())
        return np.concatenate(parts)


def check_length(tokens: int, longest: int) -> None:
    """Refuse a row that is longer than the engine was built for.

    Raises:
        ServeError: it is.
    """
    if tokens > longest:
        raise ServeError(
            f"a row has {tokens} tokens, and the engine was built for {longest}; shorten it, or export "
            f"again with export.length.max={tokens}"
        )
