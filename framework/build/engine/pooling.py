"""From a model's last hidden states to one vector a row; the same in training, in PyTorch and in exports."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDINGS = "embeddings"
"""The name of an exported graph's output."""


def mean_pooled(hidden: "Tensor", mask: "Tensor") -> "Tensor":
    """Return the mean over each row's tokens, of length 1: float32 (rows, dimensions).

    Args:
        hidden: the last hidden states, (rows, T, dimensions).
        mask: 1 for a token, 0 for padding, (rows, T).
    """
    import torch

    kept = mask.unsqueeze(-1).float()
    total = (hidden.float() * kept).sum(1)
    # The sum has the direction of the mean.
    return torch.nn.functional.normalize(total, dim=-1)
