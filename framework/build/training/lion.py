"""The Lion optimizer: one moving average per weight, and updates of equal magnitude."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Lion(torch.optim.Optimizer):
    """Evolved sign momentum (Chen et al., 2023, arXiv:2302.06675, algorithm 2).

    With gradient g, average m (float32, the weight's shape), rate r and decay d:
    ``w -= r * (sign(b1 * m + (1 - b1) * g) + d * w)``, then ``m = b2 * m + (1 - b2) * g``.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights once; *closure*, if given, computes the loss and the gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            rate, (fast, slow) = group["lr"], group["betas"]
            for weight in (w for w in group["params"] if w.grad is not None):
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                average = state["average"]
                weight.mul_(1 - rate * group["weight_decay"])
                weight.sub_(torch.lerp(weight.grad, average, fast).sign_(), alpha=rate)
                average.lerp_(weight.grad, 1 - slow)
        return loss
