"""NEFTune: noise on the embeddings during training, a regularizer for small data sets."""

from typing import Any

import torch
from torch import Tensor

from framework.build.task import Batch


class EmbeddingNoise:
    """NEFTune (Jain et al., 2023, arXiv:2310.05914): ``U(-1, 1) * alpha / sqrt(L * d)``.

    L is the number of tokens in a token's own row, d the embedding width. Only the first call of the
    embeddings after ``expect`` gets noise, so evaluation gets none.
    """

    def __init__(self, model: Any, alpha: float) -> None:
        self.alpha = alpha
        self._lengths: Tensor | None = None
        model.get_input_embeddings().register_forward_hook(self._add)

    def expect(self, batch: Batch) -> None:
        """Add noise to the next call of the embeddings, which is for *batch*."""
        if "cu_seq_lens_q" in batch:
            lengths = batch["cu_seq_lens_q"].diff()
            self._lengths = lengths.repeat_interleave(lengths)[None]
        else:
            mask = batch["attention_mask"]
            # Padding gets no noise: division by zero makes its length infinite.
            self._lengths = (mask.sum(1, keepdim=True) / mask).float()

    def _add(self, module: Any, inputs: Any, output: Tensor) -> Tensor | None:
        if self._lengths is None:
            return None
        scale = self.alpha * (self._lengths * output.shape[-1]).rsqrt()
        self._lengths = None  # an encoder-decoder may call the same embeddings for its decoder
        noise = torch.empty_like(output).uniform_(-1, 1)
        return output + noise * scale[..., None].to(output.dtype)
