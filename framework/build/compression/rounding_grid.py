"""Round weights to the engines' quantization grids, so that quantizing them later changes nothing.

All grids are symmetric. They differ in the scale of a block, which decides whether an engine gets the same
integers again:

- ``int4``: the value of largest magnitude over -8: ONNX Runtime's ``MatMulNBits``, NNCF and GGUF's Q4_0.
- ``8da4w``: the larger of minimum over -8 and maximum over 7: torchao without clipping error.
- ``int8``: the largest magnitude in a row over 127: ONNX Runtime's per-channel weights.

torchao's default scale, half a step wider, would round the same weights differently each time.
"""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Scheme = Literal["int4", "8da4w", "int8"]


def scales(weight: "Tensor", scheme: Scheme, group_size: int) -> "Tensor":
    """Return the scale of each block of *weight*, (outputs, blocks); ``int8`` has one block per row.

    Args:
        weight: (outputs, inputs), float32.
        scheme: which grid.
        group_size: inputs per block of 4-bit weights; it divides the inputs.
    """
    import torch

    if scheme == "int8":
        exact = weight.abs().amax(1, keepdim=True) / 127
    else:
        blocks = weight.view(len(weight), -1, group_size)
        least, greatest = blocks.amin(2), blocks.amax(2)
        if scheme == "int4":
            exact = torch.where(greatest > -least, greatest, least) / -8
        else:
            exact = torch.maximum(least.clamp(max=0) / -8, greatest.clamp(min=0) / 7)
    # A scale of 17 significant bits times an 8-bit integer is exact in float32, so the scale is found again.
    short = (exact.float().view(torch.int32) & -128).view(torch.float32)
    return torch.where(short == 0, torch.ones_like(short), short)


def rounded(weight: "Tensor", scheme: Scheme, group_size: int) -> "Tensor":
    """Return *weight* rounded to its grid, as floats; weights already on it do not change."""
    steps = scales(weight, scheme, group_size)[..., None]
    blocks = weight.view(*steps.shape[:2], -1)
    low, high = (-127, 127) if scheme == "int8" else (-8, 7)
    return ((blocks / steps).round().clamp(low, high) * steps).view_as(weight)
