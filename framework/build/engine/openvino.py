"""OpenVINO on the CPU: a classifier, or a language model that keeps its cache as state.

It knows token ids and arrays; neither text nor labels. All is computed in float32, as in PyTorch,
where OpenVINO by itself would take shorter numbers on CPUs that have them; compressed weights are
what they are on disk.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine.decoding import Step
from framework.build.engine.model_folder import context_length, end_of_sequence, pad_token
from framework.build.engine.padded_batches import padded
from framework.build.engine.text_engine import TextClassifier, TextDecoder, TextEngine
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np

_KNOWN_INPUTS = {"input_ids", "attention_mask", "position_ids", "beam_idx"}
_PRECISION = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def open_folder(folder: Path, threads: int = 0) -> TextEngine:
    """Open ``openvino_model.xml`` and the weights beside it.

    Args:
        folder: the graph beside the model's config.json.
        threads: CPU threads; 0 leaves OpenVINO's own choice.

    Raises:
        ServeError: OpenVINO is not installed, or the graph is missing, broken, or wants other inputs.
    """
    try:
        import openvino
    except ImportError:
        raise ServeError("the openvino engine needs OpenVINO: pip install 'gitune[openvino]'") from None
    file = folder / "openvino_model.xml"
    for needed in (file, file.with_suffix(".bin")):
        if not needed.is_file():
            raise ServeError(f"{needed}: no such file; fetch or export the model again")
    chosen = {**_PRECISION, "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        chosen["INFERENCE_NUM_THREADS"] = str(threads)
    try:
        compiled = openvino.Core().compile_model(file, "CPU", chosen)
        inputs = {port.get_any_name() for port in compiled.inputs}
        outputs = {port.get_any_name() for port in compiled.outputs}
    except RuntimeError as error:
        raise ServeError(f"{file}: OpenVINO cannot open it: {_reason(error)}") from error
    if inputs - _KNOWN_INPUTS or "logits" not in outputs:
        raise ServeError(f"{file}: is no model that export=openvino wrote; export it again")
    kind = OpenVinoDecoder if "beam_idx" in inputs else OpenVinoClassifier
    return kind(compiled, inputs, folder)


def _reason(error: Exception) -> str:
    """Return the last line, since OpenVINO says first where in its own code it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class OpenVinoGraph:
    """A compiled graph, and one pass through it; for both kinds of model."""

    runtime: ClassVar[str] = "openvino"

    def __init__(self, compiled: Any, inputs: set[str], folder: Path) -> None:
        self.compiled = compiled
        self.inputs = inputs
        self.pad = pad_token(folder)
        self.ends = end_of_sequence(folder)
        self.context = context_length(folder)

    def _forward(self, request: Any, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return float32 logits for tokens of which *mask* may cover some that came before."""
        import numpy as np

        start, end = mask.shape[1] - ids.shape[1], mask.shape[1]
        arrays = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": np.tile(np.arange(start, end, dtype=np.int64), (len(ids), 1)),
            "beam_idx": np.arange(len(ids), dtype=np.int32),
        }
        found = request.infer({name: arrays[name] for name in self.inputs})
        return np.array(found["logits"], np.float32)


class OpenVinoClassifier(OpenVinoGraph, TextClassifier):
    """An open classifier of texts or of words."""

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes), as one batch."""
        return self._forward(self.compiled.create_infer_request(), *padded(rows, self.pad))


class OpenVinoDecoder(OpenVinoGraph, TextDecoder):
    """An open language model."""

    def _scores(self, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return logits of whole rows, read by a request that has seen nothing."""
        return self._forward(self.compiled.create_infer_request(), ids, mask)

    def _begin(self, rows: int) -> Step:
        """Return what goes on from *rows* prompts."""
        import numpy as np

        # A request has a state of its own, so that two answers may be written in turns.
        request, seen = self.compiled.create_infer_request(), 0

        def step(fed: "np.ndarray") -> "np.ndarray":
            nonlocal seen
            seen += fed.shape[1]
            scores = self._forward(request, fed, np.ones((rows, seen), np.int64))
            last: np.ndarray = scores[:, -1]
            return last

        return step
