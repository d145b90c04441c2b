"""Validation during training: the held-out loss, early stopping, and the best weights."""

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
from framework.build.training.ema import WeightAverage, put_weights, trained_weights


class ValidationLoop(Callback):
    """Evaluate every few steps and at the end, with the averaged weights if there is an average.

    Every rank evaluates all held-out rows, so all ranks make the same decisions.
    """

    @property
    def state_key(self) -> str:
        """The key of its state in a checkpoint, which a renamed class must not change."""
        return "Validating"

    def __init__(
        self, config: Validation, batches: Batches, progress: Progress, average: WeightAverage | None
    ) -> None:
        self.config = config
        self.batches = batches
        self.progress = progress
        self.average = average
        self.best_loss = math.inf
        self.best: dict[str, Tensor] = {}
        """The best weights so far, on the CPU; empty unless ``keep`` is ``best``."""
        self._waited = 0
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to make the same decisions."""
        return {"best_loss": self.best_loss, "best": self.best, "waited": self._waited, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self.best_loss, self.best = state_dict["best_loss"], dict(state_dict["best"])
        self._waited, self._step = state_dict["waited"], state_dict["step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once if the interrupted run was about to stop."""
        trainer.should_stop = self._out_of_patience()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Evaluate if it is due."""
        step = trainer.global_step
        if step == self._step or (step % self.config.every_steps and step != trainer.max_steps):
            return
        self._step = step
        module: Any = pl_module
        if self.average is None:
            self._evaluate(trainer, module)
        else:
            with self.average.in_place_of_weights(module.model):
                self._evaluate(trainer, module)
        trainer.should_stop = self._out_of_patience()

    def _evaluate(self, trainer: Trainer, module: Any) -> None:
        loss = trainer.strategy.broadcast(self._mean_loss(trainer, module))
        better = loss < self.best_loss
        self._waited = 0 if better else self._waited + 1
        if better:
            self.best_loss = loss
            if self.config.keep == "best":
                own = trained_weights(module.model)
                self.best = {name: weight.detach().to("cpu", copy=True) for name, weight in own.items()}
        self.progress.curve.append({"step": self._step, "validation_loss": round(loss, 6)})
        if trainer.is_global_zero:
            verdict = "the best so far" if better else f"the best is {self.best_loss:.3f}"
            ending = "; stopping early" if self._out_of_patience() else ""
            line = f"  step {self._step}/{trainer.max_steps}  validation loss {loss:.3f}, {verdict}{ending}"
            tqdm.write(line, file=sys.stderr)

    def _mean_loss(self, trainer: Trainer, module: Any) -> float:
        """Return the mean loss over all labels of the held-out rows."""
        total, weight = 0.0, 0
        module.model.eval()
        for batch in self.batches.held_out():
            moved = trainer.strategy.batch_to_device(batch)
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                total += float(module.loss(moved)) * batch["weight"]
            weight += batch["weight"]
        module.model.train()
        return total / max(weight, 1)

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self._waited >= self.config.patience

    def put_best(self, model: Any) -> None:
        """Restore the best weights in *model*, if ``keep`` is ``best``."""
        put_weights(model, self.best)
