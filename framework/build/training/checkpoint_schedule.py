"""When a checkpoint is written: every few steps, every few minutes, and before SIGTERM ends a run."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from framework.build.training.checkpoints import CheckpointFiles, latest
from framework.core.signals import exit_with_signal, handle_signals


def resume_from(folder: Path) -> Path | None:
    """Return the checkpoint to resume from, the same on every rank; None starts from scratch."""
    if not dist.is_initialized():
        return latest(folder)
    choice = [latest(folder) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(choice, src=0)
    return choice[0]


class CheckpointSchedule(Checkpoint):
    """Save every few steps and minutes, and once more when SIGTERM asks the run to stop.

    Ranks may receive SIGTERM at different steps, and their clocks differ. So they agree after each
    optimizer step, over a gloo group of their own that never waits for a device.
    """

    def __init__(self, files: CheckpointFiles, every_steps: int, every_minutes: float | None) -> None:
        self.files = files
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self._stopping = False
        self._group: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's SIGTERM handler, which would exit without a checkpoint.

        Lightning restores the previous handler at the end.
        """
        self._step, self._saved = trainer.global_step, time.monotonic()
        handle_signals(self._request_stop, [signal.SIGTERM])
        if dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimizer step if a checkpoint is due.

        Raises:
            OSError: the previous checkpoint could not be written.
            SystemExit: with 143, after SIGTERM.
        """
        step = trainer.global_step
        if step == self._step:
            return  # still accumulating gradients
        self._step = step
        minutes = (time.monotonic() - self._saved) / 60
        late = self.every_minutes is not None and minutes >= self.every_minutes
        stopping, late = self._any_rank(self._stopping, late)
        if stopping:
            self._save(trainer)
            self.files.wait()
            self._report(trainer, f"stopped by SIGTERM; a checkpoint of step {step} was saved")
            exit_with_signal(signal.SIGTERM)
        self.files.check()
        if step < trainer.max_steps and (late or step % self.every_steps == 0):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the last checkpoint, so that a failure to write it is still raised."""
        self.files.wait()

    def _save(self, trainer: Trainer) -> None:
        fresh = self.files.unfinished(trainer.global_step)
        trainer.save_checkpoint(fresh)
        if fresh.is_dir() and trainer.is_global_zero:  # written by the ranks, not by CheckpointFiles
            self.files.finish_folder(fresh)
        self._saved = time.monotonic()

    def _any_rank(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each of *flags* whether it is set on any rank."""
        if self._group is None:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=self._group)
        return tuple(vote > 0 for vote in votes.tolist())

    def _request_stop(self, number: int) -> None:
        self._stopping = True

    @staticmethod
    def _report(trainer: Trainer, line: str) -> None:
        if trainer.is_global_zero:
            print(f"  {line}", file=sys.stderr, flush=True)
