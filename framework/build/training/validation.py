"""Validation: the loss on rows that are held back, when to stop by it, and which weights were best."""

import math
import sys
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from framework.build.training import Validation
from framework.build.training.batches import Batches
from framework.build.training.callbacks import Progress
from framework.build.training.ema import Average, put_weights, trained_weights


class Validating(Callback):
    """Measure every few steps and at the end; the averaged weights are measured, where there are such.

    Every process measures all rows that are held back, so that all decide alike.
    """

    def __init__(
        self, config: Validation, batches: Batches, progress: Progress, average: Average | None
    ) -> None:
        self.config = config
        self.batches = batches
        self.progress = progress
        self.average = average
        self.best_loss = math.inf
        self.best: dict[str, Tensor] = {}
        """The best weights so far, on the CPU; empty unless they are to be kept."""
        self._waited = 0
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to decide as the whole one would."""
        return {"best_loss": self.best_loss, "best": self.best, "waited": self._waited, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""
        self.best_loss, self.best = state_dict["best_loss"], dict(state_dict["best"])
        self._waited, self._step = state_dict["waited"], state_dict["step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at once where the run had been about to end."""
        trainer.should_stop = self._stops()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure if it is time."""
        step = trainer.global_step
        if step == self._step or (step % self.config.every_steps and step != trainer.max_steps):
            return
        self._step = step
        module: Any = pl_module
        if self.average is None:
            self._judge(trainer, module)
        else:
            with self.average.in_place_of_weights(module.model):
                self._judge(trainer, module)
        trainer.should_stop = self._stops()

    def _judge(self, trainer: Trainer, module: Any) -> None:
        loss = trainer.strategy.broadcast(self._measure(trainer, module))
        better = loss < self.best_loss
        self._waited = 0 if better else self._waited + 1
        if better:
            self.best_loss = loss
            if self.config.keep == "best":
                own = trained_weights(module.model)
                self.best = {name: weight.detach().to("cpu", copy=True) for name, weight in own.items()}
        self.progress.curve.append({"step": self._step, "validation_loss": round(loss, 6)})
        if trainer.is_global_zero:
            verdict = "the best so far" if better else f"the best was {self.best_loss:.3f}"
            ending = "; training ends" if self._stops() else ""
            line = f"  step {self._step}/{trainer.max_steps}  validation loss {loss:.3f}, {verdict}{ending}"
            tqdm.write(line, file=sys.stderr)

    def _measure(self, trainer: Trainer, module: Any) -> float:
        """Return the mean loss over all labels of the rows that are held back."""
        total, weight = 0.0, 0
        module.model.eval()
        for batch in self.batches.held_back():
            moved = trainer.strategy.batch_to_device(batch)
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                total += float(module.loss(moved)) * batch["weight"]
            weight += batch["weight"]
        module.model.train()
        return total / max(weight, 1)

    def _stops(self) -> bool:
        return self.config.patience is not None and self._waited >= self.config.patience

    def put_best(self, model: Any) -> None:
        """Give *model* the best weights, where they were to be kept."""
        put_weights(model, self.best)
