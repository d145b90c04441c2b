"""Exponential moving average (EMA) of the trained weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor


def trained_weights(model: Any) -> dict[str, Tensor]:
    """Return the trainable weights of *model* by name: the tensors themselves, not copies."""
    return {name: p.data for name, p in model.named_parameters() if p.requires_grad}


def put_weights(model: Any, weights: Mapping[str, Tensor]) -> None:
    """Copy *weights* into the weights of *model* with the same names."""
    own = trained_weights(model)
    for name, value in weights.items():
        own[name].copy_(value)


class WeightAverage(Callback):
    """Exponential moving average: after each step t, ``a = k * a + (1 - k) * w``.

    k is *decay*, or ``(1 + t) / (10 + t)`` while that is lower, so the initial weights are soon forgotten
    (as in TensorFlow's ExponentialMovingAverage). The average is float32, on the weights' own device.
    """

    @property
    def state_key(self) -> str:
        """The key of its state in a checkpoint, which a renamed class must not change."""
        return "Average"

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {}
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the average, for a resumed run."""
        return {"weights": self.weights, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the average."""
        self.weights, self._step = dict(state_dict["weights"]), state_dict["step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the current weights, or move a restored average to their device."""
        own = trained_weights(pl_module.model)
        start = self.weights or own
        self.weights = {
            name: start[name].detach().to(p.device, torch.float32, copy=True) for name, p in own.items()
        }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the average after each optimizer step."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        for name, weight in trained_weights(pl_module.model).items():
            self.weights[name].lerp_(weight.float(), 1 - decay)

    @contextmanager
    def in_place_of_weights(self, model: Any) -> Iterator[None]:
        """Let *model* have the average as its weights while the block runs."""
        before = {name: weight.clone() for name, weight in trained_weights(model).items()}
        put_weights(model, self.weights)
        try:
            yield
        finally:
            put_weights(model, before)
