"""Bottleneck adapters: a narrow, non-linear detour behind a frozen layer. The layer only, no files.

The one module here that needs torch as it is imported; its callers import it when they need it.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Bottleneck(nn.Module):
    """A layer y = f(x) that acts as ``y + up(activation(down(y)))``, with ``down`` to a narrow width.

    ``up`` starts at zero, so that training starts from the base model exactly.
    """

    def __init__(self, base_layer: nn.Module, features: int, width: int, activation: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.down = nn.Linear(features, width)
        self.up = nn.Linear(width, features)
        self.activation = ACTIVATIONS[activation]()
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    @property
    def weight(self) -> Any:
        """The base layer's weight: T5 asks for its dtype."""
        return self.base_layer.weight

    @property
    def bias(self) -> Any:
        """The base layer's bias."""
        return self.base_layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Take (…, in) to (…, features)."""
        y: Tensor = self.base_layer(x)
        detour: Tensor = self.up(self.activation(self.down(y)))
        return y + detour


def insert(model: nn.Module, targets: Iterable[str], width: int, activation: str) -> None:
    """Put a bottleneck behind each layer of *model* whose path is in *targets*, in place.

    Raises:
        AttributeError: *model* has no such layer.
    """
    for path in targets:
        layer = model.get_submodule(path)
        weight: Tensor = layer.get_parameter("weight")
        # transformers' Conv1D, of GPT-2, keeps its weight as (in, out).
        features = weight.shape[0] if isinstance(layer, nn.Linear) else weight.shape[1]
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, Bottleneck(layer, features, width, activation))


def load(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Copy *weights* into *model*'s parameters; return the names that do not fit any of them."""
    known = dict(model.named_parameters())
    odd = [name for name, part in weights.items() if name not in known or known[name].shape != part.shape]
    with torch.no_grad():
        for name, part in weights.items():
            if name not in odd:
                known[name].copy_(part)
    return odd
