"""OpenVINO on the CPU: a classifier, an embedding model, or a language model that keeps its cache as state.

It computes in float32, as PyTorch does; OpenVINO's default is lower precision on CPUs that support it.
Compressed weights stay compressed, and what they are multiplied with is rounded to int8 in groups, which is
twice as fast: a result depends a little on the shape of its batch. It knows token ids and arrays; neither
text nor labels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine
from framework.build.engine.decoding import Step
from framework.build.engine.model_folder import context_length, end_of_sequence, pad_token
from framework.build.engine.openvino_adapters import AdaptedPipelines, read_adapters
from framework.build.engine.openvino_batches import (
    OpenVinoBatches,
    open_pipeline,
    open_pipelines,
    reason,
)
from framework.build.engine.padded_batches import padded, without_padding
from framework.build.engine.pooling import EMBEDDINGS
from framework.build.engine.text_decoder import TextDecoder
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np

_KNOWN_INPUTS = {"input_ids", "attention_mask", "position_ids", "beam_idx"}
_PRECISION = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def open_folder(folder: Path, threads: int = 0) -> Engine:
    """Open ``openvino_model.xml`` and the weights beside it.

    Args:
        folder: the graph beside the model's config.json.
        threads: CPU threads; 0 leaves the choice to OpenVINO.

    Raises:
        ServeError: OpenVINO is not installed, or the graph is missing, broken, or has unknown inputs.
    """
    try:
        import openvino
    except ImportError:
        raise ServeError("the openvino engine needs OpenVINO: pip install 'gitune[openvino]'") from None
    file = _graph(folder)
    try:
        compiled = openvino.Core().compile_model(file, "CPU", _properties(threads))
        inputs = {port.get_any_name() for port in compiled.inputs}
        shapes = {port.get_any_name(): port.get_partial_shape() for port in compiled.outputs}
    except RuntimeError as error:
        raise ServeError(f"{file}: OpenVINO cannot open it: {reason(error)}") from error
    if inputs - _KNOWN_INPUTS or not {"logits", EMBEDDINGS} & {*shapes}:
        raise ServeError(f"{file}: not written by export=openvino; export the model again")
    if "beam_idx" in inputs:
        return OpenVinoDecoder(compiled, inputs, folder)
    if EMBEDDINGS in shapes:
        return OpenVinoEmbedder(compiled, inputs, folder, shapes[EMBEDDINGS][1].get_length())
    kind = OpenVinoTokenClassifier if len(shapes["logits"]) == 3 else OpenVinoClassifier
    return kind(compiled, inputs, folder)


def open_batches(folder: Path, threads: int = 0, width: int = 16) -> OpenVinoBatches:
    """Open a language model to generate for up to *width* requests at once; see ``open_folder``.

    Raises:
        ServeError: OpenVINO GenAI is not installed, or it cannot open the graph.
    """
    _graph(folder)
    return open_pipeline(folder, _properties(threads), width)


def open_adapted(
    folder: Path, threads: int, adapters: Mapping[str, Path], width: int = 16
) -> AdaptedPipelines:
    """Open a language model with several adapters to generate for up to *width* requests at once.

    Args:
        folder: as for ``open_folder``.
        threads: CPU threads; 0 leaves the choice to OpenVINO.
        adapters: the folder of each.
        width: most requests at once.

    Raises:
        ServeError: the folder or an adapter cannot be opened, or the adapter does not match.
    """
    files = read_adapters(_graph(folder), adapters)
    return AdaptedPipelines(open_pipelines(folder, _properties(threads), width, files))


def _graph(folder: Path) -> Path:
    """Return the graph's file.

    Raises:
        ServeError: it, or its weights, are missing.
    """
    file = folder / "openvino_model.xml"
    for path in (file, file.with_suffix(".bin")):
        if not path.is_file():
            raise ServeError(f"{path}: no such file; fetch or export the model again")
    return file


def _properties(threads: int) -> dict[str, str]:
    own = {"INFERENCE_NUM_THREADS": str(threads)} if threads else {}
    return {**_PRECISION, "PERFORMANCE_HINT": "LATENCY", **own}


class OpenVinoGraph:
    """A compiled graph, and one pass through it; for every kind of model."""

    runtime: ClassVar[str] = "openvino"

    def __init__(self, compiled: Any, inputs: set[str], folder: Path) -> None:
        self.compiled = compiled
        self.inputs = inputs
        self.pad = pad_token(folder)
        self.folder, self.ends = folder, end_of_sequence(folder)
        self.context = context_length(folder)

    def _forward(self, request: Any, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return float32 logits or vectors for *ids*; *mask* covers them and the tokens before them."""
        import numpy as np

        start, end = mask.shape[1] - ids.shape[1], mask.shape[1]
        arrays = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": np.tile(np.arange(start, end, dtype=np.int64), (len(ids), 1)),
            "beam_idx": np.arange(len(ids), dtype=np.int32),
        }
        values = request.infer({name: arrays[name] for name in self.inputs})
        return np.array(values[0], np.float32)


class OpenVinoClassifier(OpenVinoGraph):
    """An open sequence classifier."""

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes), as one batch."""
        return self._forward(self.compiled.create_infer_request(), *padded(rows, self.pad))


class OpenVinoEmbedder(OpenVinoGraph):
    """An open text-embedding model."""

    def __init__(self, compiled: Any, inputs: set[str], folder: Path, dimensions: int) -> None:
        super().__init__(compiled, inputs, folder)
        self.dimensions = dimensions

    def embed(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 vectors of length 1, (rows, dimensions), as one batch."""
        return self._forward(self.compiled.create_infer_request(), *padded(rows, self.pad))


class OpenVinoTokenClassifier(OpenVinoGraph):
    """An open token classifier."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, tags), as one batch."""
        scores = self._forward(self.compiled.create_infer_request(), *padded(rows, self.pad))
        return without_padding(scores, rows)


class OpenVinoDecoder(OpenVinoGraph, TextDecoder):
    """An open language model."""

    def _scores(self, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return logits of whole rows, computed by a new request, whose state is empty."""
        return self._forward(self.compiled.create_infer_request(), ids, mask)

    def _begin(self, rows: int) -> Step:
        """Return the step function for *rows* prompts."""
        import numpy as np

        # Each request keeps its own state, so that two answers can be generated in turns.
        request, seen = self.compiled.create_infer_request(), 0

        def step(ids: "np.ndarray") -> "np.ndarray":
            nonlocal seen
            seen += ids.shape[1]
            scores = self._forward(request, ids, np.ones((rows, seen), np.int64))
            last: np.ndarray = scores[:, -1]
            return last

        return step
