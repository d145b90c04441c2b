"""The optimizer and learning rate schedule of a training option."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from framework.build.training import Training
from framework.core.errors import StepError

if TYPE_CHECKING:
    from torch.nn import Parameter
    from torch.optim import Optimizer

_BETAS = {"adamw": (0.9, 0.999), "lion": (0.9, 0.99)}


def make_optimizer(
    training: Training, trained: "Sequence[Parameter]", kernel: "Mapping[str, Any] | None" = None
) -> "Optimizer":
    """Return the optimizer of *trained* weights, with weight decay for matrices only.

    Args:
        training: names the optimizer and its hyperparameters.
        trained: the weights.
        kernel: the parallelism's arguments for torch's AdamW, such as ``fused``.

    Raises:
        StepError: an 8-bit optimizer was requested and bitsandbytes is not installed.
    """
    import torch

    from framework.build.training.lion import Lion

    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    kind, _, bits = training.optimizer.partition("-")
    rate, betas = training.learning_rate, training.betas or _BETAS[kind]
    eight_bit = _bitsandbytes(training.optimizer) if bits else None
    if kind == "lion":
        return eight_bit.Lion8bit(groups, lr=rate, betas=betas) if eight_bit else Lion(groups, rate, betas)
    if eight_bit:
        optimizer: Optimizer = eight_bit.AdamW8bit(groups, lr=rate, betas=betas, eps=training.epsilon)
        return optimizer
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=training.epsilon, **(kernel or {}))


def _bitsandbytes(name: str) -> Any:
    try:
        from bitsandbytes import optim
    except ImportError as error:
        raise StepError(
            f"training.optimizer: {name} needs bitsandbytes; install gitune[qlora], or set "
            f"training.optimizer={name.removesuffix('-8bit')}"
        ) from error
    return optim


def make_schedule(training: Training, optimizer: "Optimizer", steps: int) -> Any:
    """Return torch's ``LambdaLR`` over *steps* optimizer steps, to be stepped after each."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: learning_rate_share(training, step, steps))


def learning_rate_share(training: Training, step: int, steps: int) -> float:
    """Return the share of the peak learning rate after *step* of *steps* optimizer steps."""
    warmup = round(steps * training.warmup_ratio)
    if step < warmup:
        return step / warmup
    if training.schedule == "inverse-sqrt":
        shape = math.sqrt(max(warmup, 1) / max(step, warmup, 1))
    else:
        start = warmup
        if training.schedule == "wsd":
            start = max(warmup, steps - round(steps * training.decay_ratio))
        done = min(max(step - start, 0) / max(steps - start, 1), 1.0)
        shape = {
            "constant": 1.0,
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
            "wsd": 1.0 - math.sqrt(done),
        }[training.schedule]
    return training.min_learning_rate_ratio + (1.0 - training.min_learning_rate_ratio) * shape
