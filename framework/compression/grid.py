"""The grids that weights are rounded to: those of the engines, so that rounding again changes nothing.

Int4 is symmetric in blocks along the inputs, and its scale is a block's extreme, with its sign, over -8: what
onnxruntime's ``MatMulNBits``, NNCF and GGUF's Q4_0 do. Int8 is symmetric by output channel, over 127.
torchao's own symmetric scale, half a step wider, would round the same weights anew each time.
"""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Scheme = Literal["8da4w", "int8"]


def scales(weight: "Tensor", scheme: Scheme, group_size: int) -> "Tensor":
    """Return the scale of each block of *weight*, (outputs, blocks); with int8 there is one block a row.

    Args:
        weight: (outputs, inputs), float.
        scheme: ``8da4w`` has int4 weights.
        group_size: inputs of a block of int4 weights; it divides the inputs.
    """
    import torch

    if scheme == "int8":
        found = weight.abs().amax(1, keepdim=True) / 127
    else:
        blocks = weight.view(len(weight), -1, group_size)
        places = blocks.abs().argmax(2, keepdim=True)
        found = blocks.gather(2, places)[..., 0] / -8
    return torch.where(found == 0, torch.ones_like(found), found)


def rounded(weight: "Tensor", scheme: Scheme, group_size: int) -> "Tensor":
    """Return *weight* rounded to its grid, as floats; of weights that are on it already, the same again."""
    found = scales(weight, scheme, group_size)[..., None]
    blocks = weight.view(*found.shape[:2], -1)
    low, high = (-127, 127) if scheme == "int8" else (-8, 7)
    return ((blocks / found).round().clamp(low, high) * found).view_as(weight)
