"""The grids that weights are rounded to: those of the engines, so that rounding again changes nothing.

All are symmetric. What they differ in is the scale of a block, and that decides whether an engine finds the
same integers again:

- ``int4``: the extreme, with its sign, over -8: onnxruntime's ``MatMulNBits``, NNCF, and GGUF's Q4_0.
- ``8da4w``: the larger of the least over -8 and the greatest over 7: torchao, where nothing may be clipped.
- ``int8``: the largest size in a row over 127: onnxruntime's weights by channel.

torchao's usual scale, half a step wider, would round the same weights anew each time.
"""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Scheme = Literal["int4", "8da4w", "int8"]


def scales(weight: "Tensor", scheme: Scheme, group_size: int) -> "Tensor":
    """Return the scale of each block of *weight*, (outputs, blocks); with int8 there is one block a row.

    Args:
        weight: (outputs, inputs), float32.
        scheme: which grid.
        group_size: inputs of a block of 4-bit weights; it divides the inputs.
    """
    import torch

    if scheme == "int8":
        found = weight.abs().amax(1, keepdim=True) / 127
    else:
        blocks = weight.view(len(weight), -1, group_size)
        least, greatest = blocks.amin(2), blocks.amax(2)
        if scheme == "int4":
            found = torch.where(greatest > -least, greatest, least) / -8
        else:
            found = torch.maximum(least.clamp(max=0) / -8, greatest.clamp(min=0) / 7)
    # With 17 bits of a scale its products with 8-bit integers are exact, so that dividing finds it again.
    found = (found.float().view(torch.int32) & -128).view(torch.float32)
    return torch.where(found == 0, torch.ones_like(found), found)


def rounded(weight: "Tensor", scheme: Scheme, group_size: int) -> "Tensor":
    """Return *weight* rounded to its grid, as floats; of weights that are on it already, the same again."""
    found = scales(weight, scheme, group_size)[..., None]
    blocks = weight.view(*found.shape[:2], -1)
    low, high = (-127, 127) if scheme == "int8" else (-8, 7)
    return ((blocks / found).round().clamp(low, high) * found).view_as(weight)
