"""Formulas for the memory that training needs: for the plan, and for advice after running out of memory."""

import math
from typing import Any

from framework.build.training import Training
from framework.build.tuning import Tuning
from framework.build.tuning.lora import LoRA
from framework.core.workload import VOCABULARY

_LOGITS = {True: 2**21, False: 2**26}
"""Logits in memory at once, on the CPU (True) or a GPU; see ``framework.build.task.cross_entropy``."""
_OPTIMIZER = {"adamw": 8.0, "lion": 4.0, "adamw-8bit": 2.0, "lion-8bit": 1.0}


def trained_bytes(training: Training) -> float:
    """Return the bytes per trained weight besides the weight itself: gradient, optimizer states, average."""
    return 4 + _OPTIMIZER[training.optimizer] + (4 if training.ema_decay else 0)


def activation_bytes(training: Training, parameters: float, tokens: float) -> float:
    """Return the bytes of the activations of *tokens* tokens in a model of *parameters* weights.

    With all activations in 16 bits, about 34 bytes per hidden unit, layer and token (Korthikanti et al.,
    2022, arXiv:2205.05198, equation 2 without the attention scores, which fused kernels do not keep).
    Measured here with autocast, which keeps norms and residuals in float32, it is 90. Assumes a width of
    ``0.05 * sqrt(parameters)``, and ``1.7 * sqrt(parameters)`` for width times layers. Gradient
    checkpointing keeps each layer's float32 input and all activations of a single layer.
    """
    bytes_per_unit = 90 if training.precision != "fp32" else 140
    width = 0.05 * math.sqrt(parameters)
    width_times_layers = 1.7 * math.sqrt(parameters)
    if training.gradient_checkpointing:
        return tokens * (4 * width_times_layers + bytes_per_unit * width)
    return tokens * bytes_per_unit * width_times_layers


def tune_bytes(
    training: Training, tuning: Tuning, parameters: float, tokens: float, *, generates: bool, on_cpu: bool
) -> float:
    """Return the peak bytes of training, without what libraries take.

    The sum of weights (see ``weight_bytes``), states of trained weights, activations and logits. Logits
    count three times in float32, for half of the tokens or for as many as are computed at once.

    Args:
        training: how it is trained.
        tuning: what is trained.
        parameters: weights of the model.
        tokens: of a micro batch.
        generates: whether logits are over the vocabulary.
        on_cpu: whether the CPU trains; it loads the whole float32 model first.
    """
    at_once = _LOGITS[on_cpu] if generates else 0.0
    logits = 12 * min(tokens / 2 * VOCABULARY, at_once)
    trained = trained_bytes(training) * tuning.trainable(parameters)
    weights = weight_bytes(training, tuning, parameters, on_cpu=on_cpu)
    return weights + trained + activation_bytes(training, parameters, tokens) + logits


def weight_bytes(training: Training, tuning: Tuning, parameters: float, *, on_cpu: bool) -> float:
    """Return the bytes of the weights: float32 plus autocast's copy, or frozen in fewer bits.

    Embeddings stay float32 in the latter case, and the CPU loads the whole float32 model first.
    """
    if training.precision == "fp32" and tuning.weight_bytes() >= 4:
        return 4 * parameters
    if tuning.saves_frozen:
        return 6 * parameters
    held = min(tuning.weight_bytes(), 2.0) * parameters + 8 * VOCABULARY * tuning.width(parameters)
    return max(held, 4 * parameters) if on_cpu else held


def rank_memory_savings(
    training: Training, tuning: Tuning, parameters: float, longest: int, *, generates: bool, on_cpu: bool
) -> list[str]:
    """Return the overrides that would save the most memory, at most three, the most effective first.

    Args:
        training: how it is trained; ``micro_batch_size`` is a number.
        tuning: what is trained.
        parameters: weights of the model.
        longest: tokens of the longest row.
        generates: whether logits are over the vocabulary.
        on_cpu: whether the CPU trains.
    """
    least = training.least_rows
    accumulated = max(training.rows_a_step() // least, 1)
    plain = training.optimizer.removesuffix("-8bit")
    changes: list[tuple[str, dict[str, Any], Tuning, float]] = [
        (
            f"training.micro_batch_size={least} training.gradient_accumulation_steps={accumulated}",
            {"micro_batch_size": least, "gradient_accumulation_steps": accumulated},
            tuning,
            1.0,
        ),
        (f"data.max_length={longest // 2}", {}, tuning, 0.5),
        (f"training.optimizer={plain}-8bit", {"optimizer": f"{plain}-8bit"}, tuning, 1.0),
        ("training.precision=bf16", {"precision": "bf16"}, tuning, 1.0),
        ("training.ema_decay=0", {"ema_decay": 0.0}, tuning, 1.0),
        ("tuning=lora", {}, LoRA(), 1.0),
        ("tuning=qlora", {}, LoRA(base_precision="nf4"), 1.0),
    ]
    if tuning.recomputes:
        recompute = {"gradient_checkpointing": True}
        changes.append(("training.gradient_checkpointing=true", recompute, tuning, 1.0))

    def need(changed: Training, method: Tuning, length_share: float) -> float:
        tokens = changed.least_micro_batch_size * longest * length_share
        return tune_bytes(changed, method, parameters, tokens, generates=generates, on_cpu=on_cpu)

    now = need(training, tuning, 1.0)
    saved = [
        (now - need(training.model_copy(update=update), method, length_share), override)
        for override, update, method, length_share in changes
    ]
    worthwhile = [(gain, override) for gain, override in saved if gain > 0.01 * now]
    return [override for _, override in sorted(worthwhile, key=lambda pair: -pair[0])[:3]]
