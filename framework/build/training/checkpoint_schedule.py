"""When a checkpoint is due, and how a run that is told to stop saves itself first."""

import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from framework.build.training.checkpoints import CheckpointFiles, latest


def resume_from(folder: Path) -> Path | None:
    """Return the checkpoint to go on from, the same on every rank, or None to begin."""
    if not dist.is_initialized():
        return latest(folder)
    found = [latest(folder) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found, src=0)
    return found[0]


class Saving(Checkpoint):
    """Save every few steps and minutes, and once more before SIGTERM ends the run.

    Ranks may be told to stop at different steps, and their clocks differ: after each optimiser step
    they agree, over a group of their own so that no device waits for another's work.
    """

    def __init__(self, files: CheckpointFiles, every_steps: int, every_minutes: float | None) -> None:
        self.files = files
        self.every_steps = every_steps
        self.every_minutes = every_minutes
        self._stopping = False
        self._group: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM over from Lightning, which would leave without a checkpoint; it puts it back."""
        self._step, self._saved = trainer.global_step, time.monotonic()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._stop)
        if dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after an optimiser step if it is time.

        Raises:
            OSError: the checkpoint before could not be written.
            SystemExit: with 143, after SIGTERM.
        """
        step = trainer.global_step
        if step == self._step:
            return  # gradients are still being accumulated
        self._step = step
        minutes = (time.monotonic() - self._saved) / 60
        late = self.every_minutes is not None and minutes >= self.every_minutes
        stopping, late = self._agreed(self._stopping, late)
        if stopping:
            self._save(trainer)
            self.files.wait()
            self._tell(trainer, f"stopped by SIGTERM; a checkpoint of step {step} was saved")
            raise SystemExit(128 + signal.SIGTERM)
        self.files.check()
        if step < trainer.max_steps and (late or step % self.every_steps == 0):
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that the last checkpoint was written, as long as somebody can be told."""
        self.files.wait()

    def _save(self, trainer: Trainer) -> None:
        fresh = self.files.place(trainer.global_step)
        trainer.save_checkpoint(fresh)
        if fresh.is_dir() and trainer.is_global_zero:  # the ranks wrote into it, without CheckpointFiles
            self.files.finish_folder(fresh)
        self._saved = time.monotonic()

    def _agreed(self, *wishes: bool) -> tuple[bool, ...]:
        """Return for each of *wishes* whether any rank has it."""
        if self._group is None:
            return wishes
        flags = torch.tensor(wishes, dtype=torch.int32)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._group)
        return tuple(flag > 0 for flag in flags.tolist())

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._stopping = True

    @staticmethod
    def _tell(trainer: Trainer, line: str) -> None:
        if trainer.is_global_zero:
            print(f"  {line}", file=sys.stderr, flush=True)
