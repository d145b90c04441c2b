"""ONNX Runtime: one graph, ``model.onnx``: a classifier of texts or of words, or a language model.

It knows token ids and arrays; neither text nor labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine.model_folder import pad_token
from framework.build.engine.padded_batches import padded
from framework.build.engine.text_engine import TextClassifier, TextEngine
from framework.core.error_text import first_line
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np

KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
PAST = "past_key_values."
"""How the names of a language model's inputs begin that hold its key-value cache."""


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
        raise ServeError(f"{graph}: ONNX Runtime cannot open it: {first_line(error)}") from error


def open_folder(folder: Path, threads: int = 0) -> TextEngine:
    """Open ``model.onnx`` as what its inputs say that it is.

    Args:
        folder: the graph beside the model's config.json.
        threads: CPU threads; 0 leaves ONNX Runtime's own choice.

    Raises:
        ServeError: the graph is missing, broken, or wants other inputs.
    """
    session = open_session(folder / "model.onnx", threads)
    inputs = [given.name for given in session.get_inputs()]
    if any(name.startswith(PAST) for name in inputs):
        from framework.build.engine.onnx_decoder import OnnxDecoder

        return OnnxDecoder(session, folder)
    if unknown := sorted(set(inputs) - KNOWN_INPUTS):
        raise ServeError(
            f"{folder / 'model.onnx'}: wants the inputs {', '.join(unknown)}, which no classifier and no "
            "language model of ours has; export it again"
        )
    return OnnxRuntimeEngine(session, inputs, pad_token(folder))


class OnnxRuntimeEngine(TextClassifier):
    """An open classifier."""

    runtime: ClassVar[str] = "onnxruntime"

    def __init__(self, session: Any, inputs: Sequence[str], pad: int) -> None:
        self.session = session
        self.inputs = inputs
        self.pad = pad

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes), as one batch."""
        import numpy as np

        ids, mask = padded(rows, self.pad)
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (scores,) = self.session.run(["logits"], {name: arrays[name] for name in self.inputs})
        return np.asarray(scores, np.float32)
