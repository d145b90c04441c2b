"""What happens around the steps: random states, the place in the rows, and what the terminal shows."""

import sys
import time
from typing import Any

import torch
import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from framework.training.batches import Batches


class RandomState(Callback):
    """Carry torch's random state over a resume, so that dropout draws what it would have drawn.

    Every rank has one of its own. Where another number of ranks goes on, they go on from the seed.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the states as they are now: the CPU's, and those of GPUs, where dropout draws there."""
        own = {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
        if not dist.is_initialized():
            return {"ranks": [own]}
        everyones: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyones, own)
        return {"ranks": everyones}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training begins: Lightning draws numbers in between."""
        ranks = state_dict["ranks"]
        rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self._restored = ranks[rank] if len(ranks) == size else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the state back."""
        if self._restored is not None:
            torch.set_rng_state(self._restored["torch"])
            torch.cuda.set_rng_state_all(self._restored["cuda"])


class Position(Callback):
    """Count the batches that training has had, and carry the count over a resume."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def state_dict(self) -> dict[str, Any]:
        """Return the count."""
        return {"taken": self.batches.taken}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from where the run was cut off; Lightning begins to iterate after this."""
        self.batches.taken = state_dict["taken"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count."""
        self.batches.taken += 1


class Progress(Callback):
    """Loss, tokens per second and the time left: a bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []
        self._tokens = 0
        self._bar: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return the log, so that a resumed run's curve is whole."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the log of the run that was cut off."""
        self.curve = list(state_dict["curve"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._started, self._first, self._step = time.monotonic(), trainer.global_step, trainer.global_step
        self._losses: list[torch.Tensor] = []
        self._plain_every = max(1, trainer.max_steps // 10)
        if sys.stderr.isatty() and trainer.is_global_zero:
            self._bar = tqdm(
                total=trainer.max_steps,
                initial=trainer.global_step,
                desc="  train",
                unit="step",
                leave=False,
                dynamic_ncols=True,
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count tokens; once an optimiser step, note the loss and show it."""
        parallelism: Any = pl_module.parallelism
        self._tokens += batch["tokens"] * parallelism.data_parallel  # others see about as many
        # Lightning has divided it by the accumulation, so that these add up to the step's loss.
        self._losses.append(outputs["loss"].detach())
        if trainer.global_step == self._step:
            return  # gradients are still being accumulated
        self._step = trainer.global_step
        loss = float(trainer.strategy.reduce(torch.stack(self._losses).sum(), reduce_op="mean"))
        self._losses.clear()
        rate = pl_module.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        self.curve.append({"step": self._step, "loss": round(loss, 6), "learning_rate": rate})
        if trainer.is_global_zero:
            self._show(loss, trainer.max_steps)

    def _show(self, loss: float, steps: int) -> None:
        seconds = max(time.monotonic() - self._started, 1e-9)
        speed = self._tokens / seconds
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}, {speed:.0f} tokens/s", refresh=False)
            self._bar.update(self._step - self._bar.n)
        elif self._step % self._plain_every == 0 or self._step == steps:
            left = seconds / (self._step - self._first) * (steps - self._step)
            line = f"  step {self._step}/{steps}  loss {loss:.3f}  {speed:.0f} tokens/s  {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()
