"""Bottleneck adapters: a narrow nonlinear residual branch after a frozen layer. It knows no files.

It imports torch at its top, unlike the other modules here; callers import it inside functions.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class Bottleneck(nn.Module):
    """Replaces a layer's output y by ``y + up(activation(down(y)))``, with ``down`` to a narrow width.

    ``up`` starts at zero, so training starts exactly from the base model.
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
        """The base layer's weight; T5 reads its dtype."""
        return self.base_layer.weight

    @property
    def bias(self) -> Any:
        """The base layer's bias."""
        return self.base_layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, in) to (…, features)."""
        y: Tensor = self.base_layer(x)
        branch: Tensor = self.up(self.activation(self.down(y)))
        return y + branch


def insert(model: nn.Module, targets: Iterable[str], width: int, activation: str) -> None:
    """Put a bottleneck after each layer of *model* whose path is in *targets*, in place.

    Raises:
        AttributeError: *model* has no such layer.
    """
    for path in targets:
        layer = model.get_submodule(path)
        weight: Tensor = layer.get_parameter("weight")
        # GPT-2's Conv1D stores its weight as (in, out).
        features = weight.shape[0] if isinstance(layer, nn.Linear) else weight.shape[1]
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, Bottleneck(layer, features, width, activation))


def load(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """Copy *weights* into *model*'s parameters; return the names that match none, or another shape."""
    parameters = dict(model.named_parameters())
    unmatched = [
        name
        for name, weight in weights.items()
        if name not in parameters or parameters[name].shape != weight.shape
    ]
    with torch.no_grad():
        for name, weight in weights.items():
            if name not in unmatched:
                parameters[name].copy_(weight)
    return unmatched
