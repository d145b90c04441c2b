"""What training keeps in memory, by formulas: for the plan, and for advice where it did not fit."""

import math
from typing import Any

from framework.build.training import Training
from framework.build.tuning import Tuning
from framework.build.tuning.lora import LoRA

VOCABULARY = 50_000
_LOGITS = {True: 2**21, False: 2**26}
"""Logits that are there at once, on the CPU or not; see ``framework.build.task.cross_entropy``."""
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


def tune_bytes(
    training: Training, tuning: Tuning, parameters: float, tokens: float, *, generates: bool, on_cpu: bool
) -> float:
    """Return the bytes that training needs at its peak, less what libraries take.

    Weights (see ``weight_bytes``), what training keeps beside each trained weight, activations, and
    logits three times in float32, for half of the tokens or for as many as are taken at once.

    Args:
        training: how it is trained.
        tuning: what is trained.
        parameters: weights of the model.
        tokens: of a micro batch.
        generates: whether logits are over the vocabulary.
        on_cpu: whether the CPU trains, which holds the whole float model first.
    """
    at_once = _LOGITS[on_cpu] if generates else 0.0
    logits = 12 * min(tokens / 2 * VOCABULARY, at_once)
    trained = trained_bytes(training) * tuning.trainable(parameters)
    weights = weight_bytes(training, tuning, parameters, on_cpu=on_cpu)
    return weights + trained + activation_bytes(training, parameters, tokens) + logits


def weight_bytes(training: Training, tuning: Tuning, parameters: float, *, on_cpu: bool) -> float:
    """Return the bytes of the weights: in float32 with autocast's copy, or as frozen ones are held.

    Embeddings stay float32 then, and the CPU holds the whole float model first.
    """
    if training.precision == "fp32" and tuning.weight_bytes() >= 4:
        return 4 * parameters
    if tuning.saves_frozen:
        return 6 * parameters
    held = min(tuning.weight_bytes(), 2.0) * parameters + 8 * VOCABULARY * tuning.width(parameters)
    return max(held, 4 * parameters) if on_cpu else held


def what_saves_most(
    training: Training, tuning: Tuning, parameters: float, longest: int, *, generates: bool, on_cpu: bool
) -> list[str]:
    """Return the three changes that would save most memory, the most effective first, as overrides.

    Args:
        training: how it is trained, in micro batches of a known size.
        tuning: what is trained.
        parameters: weights of the model.
        longest: tokens of the longest row.
        generates: whether logits are over the vocabulary.
        on_cpu: whether the CPU trains.
    """
    rows = training.rows_a_step()
    plain = training.optimizer.removesuffix("-8bit")
    changes: list[tuple[str, dict[str, Any], Tuning, float]] = [
        (
            f"training.micro_batch_size=1 training.gradient_accumulation_steps={rows}",
            {"micro_batch_size": 1, "gradient_accumulation_steps": rows},
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
        again = {"gradient_checkpointing": True}
        changes.append(("training.gradient_checkpointing=true", again, tuning, 1.0))

    def need(changed: Training, method: Tuning, part: float) -> float:
        tokens = changed.least_micro_batch_size * longest * part
        return tune_bytes(changed, method, parameters, tokens, generates=generates, on_cpu=on_cpu)

    now = need(training, tuning, 1.0)
    saved = [
        (now - need(training.model_copy(update=update), method, part), text)
        for text, update, method, part in changes
    ]
    worthwhile = [(gain, text) for gain, text in saved if gain > 0.01 * now]
    return [text for _, text in sorted(worthwhile, key=lambda pair: -pair[0])[:3]]
