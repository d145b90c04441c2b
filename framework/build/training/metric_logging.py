"""Sends training's metrics to the logger of the tracking option."""

import sys
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from framework.build.training.callbacks import Progress


class MetricLogging(Callback):
    """Log the metrics of ``Progress`` once per step. An error of the logger never ends training."""

    def __init__(self, logger: Logger, progress: Progress, settings: dict[str, Any]) -> None:
        self.logger: Logger | None = logger
        self.progress = progress
        self.settings = settings
        self._logged = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the hyperparameters."""
        self._logged = len(self.progress.curve)
        self._call("log_hyperparams", self.settings)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the new entries of the training log, with throughput and memory."""
        for entry in self.progress.curve[self._logged :]:
            metrics = {name: value for name, value in entry.items() if name != "step"}
            self._call("log_metrics", {**metrics, **self.progress.performance}, int(entry["step"]))
        self._logged = len(self.progress.curve)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Mark the run as failed."""
        self._call("finalize", "failed")
        self.logger = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the run; W&B would otherwise keep it open for later work of this process."""
        self._call("finalize", "success")
        run: Any = getattr(self.logger, "experiment", None)
        if hasattr(run, "finish"):
            run.finish()

    def _call(self, method: str, *arguments: Any) -> None:
        if self.logger is None:
            return
        try:
            getattr(self.logger, method)(*arguments)
        except Exception as error:  # a lost server must not cost hours of training
            self.logger = None
            first_line = str(error).partition("\n")[0]
            print(f"  tracking: {first_line}; training continues without it", file=sys.stderr, flush=True)
