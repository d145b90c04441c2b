"""A language model as one ONNX graph whose key-value cache goes in and comes out as tensors.

Opened by ``framework.build.engine.onnxruntime``. The cache stays with the runtime between two tokens: what
one call returns is what the next one takes, and nothing is copied.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine.decoding import Step
from framework.build.engine.model_folder import context_length, end_of_sequence, pad_token
from framework.build.engine.onnxruntime import PAST
from framework.build.engine.text_engine import TextDecoder
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
        self.inputs = {given.name for given in session.get_inputs()}
        self.past = [given for given in session.get_inputs() if given.name.startswith(PAST)]
        self.present = [given.name.replace(PAST, "present.") for given in self.past]
        if missing := {"logits", *self.present} - {given.name for given in session.get_outputs()}:
            raise ServeError(f"{folder / 'model.onnx'}: has no output {min(missing)}; export the model again")
        self.ends = end_of_sequence(folder)
        self.pad = pad_token(folder)
        self.context = context_length(folder)

    def _scores(self, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return logits of whole rows, read with an empty cache."""
        import numpy as np

        scores, *_ = self._forward(ids, mask, self._empty_cache(len(ids)), ["logits"])
        return np.asarray(scores.numpy(), np.float32)

    def _begin(self, rows: int) -> Step:
        """Return what goes on from *rows* prompts with a cache of its own."""
        import numpy as np

        cache, seen = self._empty_cache(rows), 0

        def step(fed: "np.ndarray") -> "np.ndarray":
            nonlocal cache, seen
            seen += fed.shape[1]
            mask, wanted = np.ones((rows, seen), np.int64), ["logits", *self.present]
            scores, *present = self._forward(fed, mask, cache, wanted)
            cache = {given.name: kept for given, kept in zip(self.past, present, strict=True)}
            return np.asarray(scores.numpy()[:, -1], np.float32)

        return step

    def _forward(
        self, ids: "np.ndarray", mask: "np.ndarray", cache: dict[str, Any], wanted: list[str]
    ) -> list[Any]:
        """Return the *wanted* outputs as the runtime's own values, for the tokens after those in *cache*."""
        import numpy as np
        from onnxruntime import OrtValue

        start, end = mask.shape[1] - ids.shape[1], mask.shape[1]
        places = np.broadcast_to(np.arange(start, end, dtype=np.int64), ids.shape)
        arrays = {"input_ids": ids, "attention_mask": mask, "position_ids": np.ascontiguousarray(places)}
        given = {
            name: OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items() if name in self.inputs
        }
        found: list[Any] = self.session.run_with_ort_values(wanted, {**given, **cache})
        return found

    def _empty_cache(self, rows: int) -> dict[str, Any]:
        """Return a cache of no positions: values of shape (rows, heads, 0, head size)."""
        import numpy as np
        from onnxruntime import OrtValue

        return {
            given.name: OrtValue.ortvalue_from_numpy(
                np.zeros((rows, given.shape[1], 0, given.shape[3]), _KINDS[given.type])
            )
            for given in self.past
        }
