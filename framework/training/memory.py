"""What training keeps in memory, by formulas: for the plan, and for advice where it did not fit."""

import math

from framework.training import Training

_OPTIMIZER = {"adamw": 8.0, "lion": 4.0, "adamw-8bit": 2.0, "lion-8bit": 1.0}


def trained_bytes(training: Training) -> float:
    """Return the bytes beside each trained weight: its gradient, optimiser and average."""
    return 4 + _OPTIMIZER[training.optimizer] + (4 if training.ema_decay else 0)


def activation_bytes(training: Training, parameters: float, tokens: float) -> float:
    """Return the bytes of the activations of *tokens* tokens in a model of *parameters* weights.

    About 34 bytes for each unit of width in each layer and token where all is 16 bits wide (Korthikanti
    et al., 2022, arXiv:2205.05198, equation 2 without the attention scores, which fused kernels do not
    keep). Measured here with autocast, which keeps norms and residuals in float32, it is 90. Width times
    layers is taken as ``1.7 * sqrt(parameters)``, width as ``0.05 * sqrt(parameters)``. Computed again in
    the backward pass, what is kept is each layer's float32 input and the whole of one layer.
    """
    each = 90 if training.precision != "fp32" else 140
    width = 0.05 * math.sqrt(parameters)
    layered = 1.7 * math.sqrt(parameters)
    if training.gradient_checkpointing:
        return tokens * (4 * layered + each * width)
    return tokens * each * layered
