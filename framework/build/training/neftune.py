"""Noise on the embeddings while training, which keeps a small set of rows from being learnt by heart."""

from typing import Any

import torch
from torch import Tensor

from framework.build.task import Batch


class Noise:
    """NEFTune (Jain et al., 2023, arXiv:2310.05914): ``U(-1, 1) * alpha / sqrt(L * d)``.

    L is the number of tokens of a token's own row, d the width. Only a model call that follows ``expect``
    gets noise, so evaluation gets none.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        self.alpha = alpha
        self._lengths: Tensor | None = None
        model.get_input_embeddings().register_forward_hook(self._add)

    def expect(self, batch: Batch) -> None:
        """Let the next call of the embeddings be for *batch*."""
        if "cu_seq_lens_q" in batch:
            lengths = batch["cu_seq_lens_q"].diff()
            self._lengths = lengths.repeat_interleave(lengths)[None]
        else:
            mask = batch["attention_mask"]
            # Padding gets none: its length counts as endless.
            self._lengths = (mask.sum(1, keepdim=True) / mask).float()

    def _add(self, module: Any, inputs: Any, output: Tensor) -> Tensor | None:
        if self._lengths is None:
            return None
        scale = self.alpha * (self._lengths * output.shape[-1]).rsqrt()
        self._lengths = None  # an encoder's embeddings may serve its decoder too
        noise = torch.empty_like(output).uniform_(-1, 1)
        return output + noise * scale[..., None].to(output.dtype)
