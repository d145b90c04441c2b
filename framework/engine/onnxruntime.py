"""ONNX Runtime: a classifier of texts or of words as one graph, ``model.onnx``.

It knows token ids and arrays; neither text nor labels.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.core.errors import ServeError
from framework.engine import GREEDY, Sampling
from framework.engine.folder import pad_token

if TYPE_CHECKING:
    import numpy as np

KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
LANGUAGE_MODEL = "the onnxruntime engine runs classifiers; open a language model with genai or torch"


def open_session(graph: Path, threads: int) -> Any:
    """Return an ``onnxruntime.InferenceSession`` on the CPU.

    Raises:
        ServeError: there is no such graph, or ONNX Runtime cannot read it.
    """
    import onnxruntime

    if not graph.is_file():
        raise ServeError(f"{graph}: no such file; fetch or export the model again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # its warnings are about graph clean-up, nothing that a user can mend
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base
        raise ServeError(f"{graph}: ONNX Runtime cannot open it: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def open_folder(folder: Path, threads: int = 0) -> "OnnxRuntimeEngine":
    """Open ``model.onnx`` with inputs ``input_ids``, ``attention_mask`` and perhaps ``token_type_ids``.

    Args:
        folder: the graph beside the classifier's config.json.
        threads: CPU threads; 0 leaves ONNX Runtime's own choice.

    Raises:
        ServeError: the graph is missing, broken, or wants other inputs.
    """
    session = open_session(folder / "model.onnx", threads)
    inputs = [given.name for given in session.get_inputs()]
    if unknown := sorted(set(inputs) - KNOWN_INPUTS):
        raise ServeError(f"{folder / 'model.onnx'}: wants the inputs {', '.join(unknown)}; {LANGUAGE_MODEL}")
    return OnnxRuntimeEngine(session, inputs, pad_token(folder))


class OnnxRuntimeEngine:
    """An open classifier."""

    def __init__(self, session: Any, inputs: Sequence[str], pad: int) -> None:
        self.session = session
        self.inputs = inputs
        self.pad = pad

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, tags), as one batch.

        Raises:
            ServeError: the graph classifies whole rows.
        """
        scores = self._forward(rows)
        if scores.ndim != 3:
            raise ServeError(LANGUAGE_MODEL)
        return [part[: len(row)] for part, row in zip(scores, rows, strict=True)]

    def classify_images(self, rows: Sequence[Sequence[int]], images: "np.ndarray") -> "np.ndarray":
        """Refuse: images are read by torch alone.

        Raises:
            ServeError: always.
        """
        raise ServeError("the onnxruntime engine reads no images; open the model with torch")

    def answer_logits(
        self, rows: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> "list[np.ndarray]":
        """Refuse: this runtime has no encoder and decoder.

        Raises:
            ServeError: always.
        """
        raise ServeError("the onnxruntime engine runs no encoder with a decoder; open the model with torch")

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Refuse: a classifier generates nothing.

        Raises:
            ServeError: always.
        """
        raise ServeError(LANGUAGE_MODEL)

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes), as one batch."""
        return self._forward(rows)

    def _forward(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return the graph's logits for a right-padded batch."""
        import numpy as np

        longest = max(map(len, rows))
        ids = np.full((len(rows), longest), self.pad, np.int64)
        mask = np.zeros((len(rows), longest), np.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (scores,) = self.session.run(["logits"], {name: arrays[name] for name in self.inputs})
        return np.asarray(scores, np.float32)
