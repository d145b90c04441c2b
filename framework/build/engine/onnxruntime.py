"""ONNX Runtime on the CPU: ``model.onnx``, a classifier, an embedding model or a language model.

It knows token ids and arrays; neither text nor labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine
from framework.build.engine.model_folder import pad_token
from framework.build.engine.onnx_decoder import OnnxDecoder
from framework.build.engine.onnx_session import PAST, open_session
from framework.build.engine.padded_batches import padded, without_padding
from framework.build.engine.pooling import EMBEDDINGS
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np

KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


def open_folder(folder: Path, threads: int = 0) -> Engine:
    """Open ``model.onnx``; its inputs and its output tell what kind of model it is.

    Args:
        folder: the graph beside the model's config.json.
        threads: CPU threads; 0 leaves the choice to ONNX Runtime.

    Raises:
        ServeError: the graph is missing, broken, or has unknown inputs.
    """
    session = open_session(folder / "model.onnx", threads)
    inputs = [value.name for value in session.get_inputs()]
    if any(name.startswith(PAST) for name in inputs):
        return OnnxDecoder(session, folder)
    if unknown := sorted(set(inputs) - KNOWN_INPUTS):
        raise ServeError(
            f"{folder / 'model.onnx'}: unknown inputs {', '.join(unknown)}; a classifier has only "
            f"{', '.join(sorted(KNOWN_INPUTS))}; export the model again"
        )
    outputs = {value.name: value.shape for value in session.get_outputs()}
    if EMBEDDINGS in outputs:
        return OnnxEmbedder(session, inputs, pad_token(folder), int(outputs[EMBEDDINGS][-1]))
    kind = OnnxTokenClassifier if len(outputs.get("logits", ())) == 3 else OnnxClassifier
    return kind(session, inputs, pad_token(folder))


class OnnxEncoder:
    """A graph without a cache, and one pass through it; for classifiers and embedding models."""

    runtime: ClassVar[str] = "onnxruntime"

    def __init__(self, session: Any, inputs: Sequence[str], pad: int) -> None:
        self.session = session
        self.inputs = inputs
        self.pad = pad

    def _scores(self, rows: Sequence[Sequence[int]], output: str = "logits") -> "np.ndarray":
        """Return float32 logits (rows, classes) or (rows, longest, tags), or *output*, as one batch."""
        import numpy as np

        ids, mask = padded(rows, self.pad)
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (scores,) = self.session.run([output], {name: arrays[name] for name in self.inputs})
        return np.asarray(scores, np.float32)


class OnnxClassifier(OnnxEncoder):
    """An open sequence classifier."""

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes), as one batch."""
        return self._scores(rows)


class OnnxEmbedder(OnnxEncoder):
    """An open text-embedding model."""

    def __init__(self, session: Any, inputs: Sequence[str], pad: int, dimensions: int) -> None:
        super().__init__(session, inputs, pad)
        self.dimensions = dimensions

    def embed(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 vectors of length 1, (rows, dimensions), as one batch."""
        return self._scores(rows, EMBEDDINGS)


class OnnxTokenClassifier(OnnxEncoder):
    """An open token classifier."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, tags), as one batch."""
        return without_padding(self._scores(rows), rows)
