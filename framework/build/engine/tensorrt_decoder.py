"""A language model as a TensorRT engine: its key-value cache stays on the GPU from token to token.

Opened by ``framework.build.engine.tensorrt``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import GREEDY, Sampling
from framework.build.engine.onnx_decoder import OnnxDecoder
from framework.build.engine.tensorrt import Session, check_length

if TYPE_CHECKING:
    import numpy as np


class TensorRTDecoder(OnnxDecoder):
    """An open language model, which reads prompts of only such lengths, and answers with as many tokens."""

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
        parts = [rows[first : first + self.most_rows] for first in range(0, len(rows), self.most_rows)]
        return [scores for part in parts for scores in super(TensorRTDecoder, self).logits(part)]

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids that follow *prompt*; see ``OnnxDecoder``.

        Raises:
            ServeError: the prompt is longer than the engine was built for.
        """
        check_length(len(prompt), self.longest)
        yield from super().generate(prompt, max_new_tokens, sampling)

    def _forward(
        self, ids: "np.ndarray", mask: "np.ndarray", cache: dict[str, Any], wanted: list[str]
    ) -> list[Any]:
        """Return the logits on the CPU and the rest of *wanted* on the GPU."""
        import numpy as np

        start, end = mask.shape[1] - ids.shape[1], mask.shape[1]
        places = np.broadcast_to(np.arange(start, end, dtype=np.int64), ids.shape)
        fed = {"input_ids": ids, "attention_mask": mask, "position_ids": places.copy()}
        found = self.session.run({**{name: fed[name] for name in fed if name in self.inputs}, **cache})
        return [found["logits"].float().cpu(), *(found[name] for name in wanted[1:])]

    def _empty_cache(self, rows: int) -> dict[str, Any]:
        """Return a cache of no positions: tensors of shape (rows, heads, 0, head size) on the GPU."""
        import torch

        return {
            given.name: torch.empty(rows, given.shape[1], 0, given.shape[3], device="cuda")
            for given in self.past
        }
