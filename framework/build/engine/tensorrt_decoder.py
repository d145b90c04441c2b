"""A language model as a TensorRT engine; its key-value cache stays on the GPU between tokens.

``framework.build.engine.tensorrt`` opens it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import GREEDY, Sampling, Scored
from framework.build.engine.onnx_decoder import OnnxDecoder
from framework.build.engine.tensorrt_session import Session, check_length

if TYPE_CHECKING:
    import numpy as np


class TensorRTDecoder(OnnxDecoder):
    """An open language model; the engine's profile limits the lengths of prompts and of answers."""

    runtime: ClassVar[str] = "tensorrt"

    def __init__(self, session: Session, folder: Path, profile: dict[str, list[int]]) -> None:
        super().__init__(session, folder)
        *_, self.most_rows = profile["batch"]
        *_, self.longest = profile["length"]
        self.context = min(self.context or 2 * self.longest, 2 * self.longest)

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, vocabulary).

        Raises:
            ServeError: a row is longer than the engine was built for.
        """
        check_length(max(map(len, rows)), self.longest)
        batches = [rows[first : first + self.most_rows] for first in range(0, len(rows), self.most_rows)]
        return [scores for batch in batches for scores in super(TensorRTDecoder, self).logits(batch)]

    def generate_scored(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[Scored]:
        """Return the tokens that follow *prompt*; see ``OnnxDecoder``.

        Raises:
            ServeError: the prompt is longer than the engine was built for.
        """
        check_length(len(prompt), self.longest)
        return super().generate_scored(prompt, max_new_tokens, sampling)

    def _forward(
        self, ids: "np.ndarray", mask: "np.ndarray", cache: dict[str, Any], outputs: list[str]
    ) -> list[Any]:
        """Return the logits on the CPU and the other *outputs* on the GPU."""
        import numpy as np

        start, end = mask.shape[1] - ids.shape[1], mask.shape[1]
        positions = np.broadcast_to(np.arange(start, end, dtype=np.int64), ids.shape)
        arrays = {"input_ids": ids, "attention_mask": mask, "position_ids": positions.copy()}
        values = self.session.run({**{name: arrays[name] for name in arrays if name in self.inputs}, **cache})
        return [values["logits"].float().cpu(), *(values[name] for name in outputs[1:])]

    def _empty_cache(self, rows: int) -> dict[str, Any]:
        """Return a cache of no positions: tensors of shape (rows, heads, 0, head size) on the GPU."""
        import torch

        return {
            value.name: torch.empty(rows, value.shape[1], 0, value.shape[3], device="cuda")
            for value in self.past
        }
