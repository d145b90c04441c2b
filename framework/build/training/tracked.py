"""Training's numbers on their way to where they are watched."""

import sys
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from framework.build.training.callbacks import Progress
from framework.core.error_text import first_line


class Tracked(Callback):
    """Pass on what ``Progress`` knows, once a step; whatever a logger raises does not end training."""

    def __init__(self, logger: Logger, progress: Progress, settings: dict[str, Any]) -> None:
        self.logger: Logger | None = logger
        self.progress = progress
        self.settings = settings
        self._passed = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how this run is trained."""
        self._passed = len(self.progress.curve)
        self._try("log_hyperparams", self.settings)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass on the entries that are new in the log, and how fast it goes."""
        for entry in self.progress.curve[self._passed :]:
            numbers = {name: value for name, value in entry.items() if name != "step"}
            self._try("log_metrics", {**numbers, **self.progress.numbers}, int(entry["step"]))
        self._passed = len(self.progress.curve)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Mark the run as failed."""
        self._try("finalize", "failed")
        self.logger = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the run; W&B would else keep it open for whatever this process does next."""
        self._try("finalize", "success")
        run: Any = getattr(self.logger, "experiment", None)
        if hasattr(run, "finish"):
            run.finish()

    def _try(self, call: str, *arguments: Any) -> None:
        if self.logger is None:
            return
        try:
            getattr(self.logger, call)(*arguments)
        except Exception as error:  # a server that is gone must not cost hours of training
            self.logger = None
            print(
                f"  tracking: {first_line(error)}; training goes on without it", file=sys.stderr, flush=True
            )
