"""A language model as one ONNX graph whose key-value cache goes in and comes out as tensors.

``framework.build.engine.onnxruntime`` opens it. The runtime keeps the cache between two tokens: the
outputs of one call are the inputs of the next, and nothing is copied.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine.decoding import Step
from framework.build.engine.model_folder import context_length, end_of_sequence, pad_token
from framework.build.engine.onnx_session import PAST
from framework.build.engine.text_decoder import TextDecoder
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np

_KINDS = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class OnnxDecoder(TextDecoder):
    """An open language model.

    Inputs: ``input_ids`` and perhaps ``position_ids`` (batch, sequence), ``attention_mask`` (batch, past
    + sequence), ``past_key_values.<layer>.key`` and ``.value`` (batch, heads, past, head size). Outputs:
    ``logits`` (batch, sequence, vocabulary), ``present.<layer>.key`` and ``.value``.
    """

    runtime: ClassVar[str] = "onnxruntime"

    def __init__(self, session: Any, folder: Path) -> None:
        self.session = session
        self.inputs = {value.name for value in session.get_inputs()}
        self.past = [value for value in session.get_inputs() if value.name.startswith(PAST)]
        self.present = [value.name.replace(PAST, "present.") for value in self.past]
        if missing := {"logits", *self.present} - {value.name for value in session.get_outputs()}:
            raise ServeError(f"{folder / 'model.onnx'}: has no output {min(missing)}; export the model again")
        self.folder, self.ends = folder, end_of_sequence(folder)
        self.pad = pad_token(folder)
        self.context = context_length(folder)

    def _scores(self, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return logits of whole rows, computed with an empty cache."""
        import numpy as np

        scores, *_ = self._forward(ids, mask, self._empty_cache(len(ids)), ["logits"])
        return np.asarray(scores.numpy(), np.float32)

    def _begin(self, rows: int) -> Step:
        """Return the step function for *rows* prompts, with a cache of its own."""
        import numpy as np

        cache, seen = self._empty_cache(rows), 0

        def step(ids: "np.ndarray") -> "np.ndarray":
            nonlocal cache, seen
            seen += ids.shape[1]
            mask, outputs = np.ones((rows, seen), np.int64), ["logits", *self.present]
            scores, *present = self._forward(ids, mask, cache, outputs)
            cache = {value.name: kept for value, kept in zip(self.past, present, strict=True)}
            return np.asarray(scores.numpy()[:, -1], np.float32)

        return step

    def _forward(
        self, ids: "np.ndarray", mask: "np.ndarray", cache: dict[str, Any], outputs: list[str]
    ) -> list[Any]:
        """Return *outputs* as the runtime's own values, for the tokens that follow those in *cache*."""
        import numpy as np
        from onnxruntime import OrtValue

        start, end = mask.shape[1] - ids.shape[1], mask.shape[1]
        positions = np.broadcast_to(np.arange(start, end, dtype=np.int64), ids.shape)
        arrays = {"input_ids": ids, "attention_mask": mask, "position_ids": np.ascontiguousarray(positions)}
        feeds = {
            name: OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items() if name in self.inputs
        }
        values: list[Any] = self.session.run_with_ort_values(outputs, {**feeds, **cache})
        return values

    def _empty_cache(self, rows: int) -> dict[str, Any]:
        """Return a cache of no positions: values of shape (rows, heads, 0, head size)."""
        import numpy as np
        from onnxruntime import OrtValue

        return {
            value.name: OrtValue.ortvalue_from_numpy(
                np.zeros((rows, value.shape[1], 0, value.shape[3]), _KINDS[value.type])
            )
            for value in self.past
        }
