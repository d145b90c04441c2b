"""What happens around the steps: random states, the place in the rows, and what the terminal shows."""

import sys
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from framework.build.training.batches import Batches
from framework.build.training.throughput import (
    in_words,
    memory_now,
    peak_flops,
    seconds_in_words,
    tokens_in_words,
)
from framework.core.errors import StepError


class RandomState(Callback):
    """Draw dropout for each batch anew: from the seed, the batch's number and the share of the rows.

    So a resumed run draws what it would have drawn, and needs no state of processes that may be fewer by
    then. Processes that compute one batch together draw alike.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the state."""
        from numpy.random import SeedSequence

        batches = self.batches
        place = SeedSequence([batches.order.seed, batches.taken * batches.ranks + batches.rank])
        torch.manual_seed(int(place.generate_state(1)[0]))


class Position(Callback):
    """Count the batches that training has had, and carry the rows that it has seen over a resume.

    Another layout may take over, if its steps have as many rows: it sees the rows of the next step.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    @property
    def _rows(self) -> int:
        """Rows of a micro batch, over all processes."""
        return self.batches.micro_batch_size * self.batches.ranks

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, and those of a step."""
        return {"rows": self.batches.taken * self._rows, "step": self._rows * self.batches.accumulation}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from where the run was cut off; Lightning begins to iterate after this.

        Raises:
            StepError: the steps of that run had another number of rows.
        """
        saved = checkpoint["callbacks"][self.state_key]
        if saved["step"] != self._rows * self.batches.accumulation:
            raise StepError(
                f"tune: a step of the checkpoint has {saved['step']} rows, one of this run "
                f"{self._rows * self.batches.accumulation}; choose training.micro_batch_size and "
                f"training.gradient_accumulation_steps so that, times {self.batches.ranks} data-parallel "
                f"processes, they make {saved['step']}"
            )
        self.batches.taken = saved["rows"] // self._rows
        # Lightning counts micro batches too, to know when a step is full.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(("ready", "started", "processed"), self.batches.taken))
            counts["completed"] = self.batches.taken - 1  # as it is where a checkpoint is written

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count."""
        self.batches.taken += 1


class Progress(Callback):
    """Loss, speed and the time left: a bar on a terminal, plain lines elsewhere, at most 80 columns."""

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []
        """What ``log.jsonl`` will say: no times, so that equal runs have equal logs."""
        self.numbers: dict[str, float] = {}
        """What else is known of the last step: ``tokens_per_second``, ``memory_gib`` and ``mfu``, the share
        of the GPUs' peak, where that is known."""
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
        module: Any = pl_module
        self._device, self._processes = module.device, module.parallelism.processes
        known = peak_flops(torch.cuda.get_device_name(self._device)) if self._device.type == "cuda" else None
        self._share = module.flops_per_token / (known * self._processes) if known else None
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
        rate = pl_module.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]  # there is one optimiser
        self.curve.append({"step": self._step, "loss": round(loss, 6), "learning_rate": rate})
        self._measure()
        if trainer.is_global_zero:
            self._show(loss, trainer.max_steps)

    def _measure(self) -> None:
        rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
        self.numbers = {"tokens_per_second": rate, "memory_gib": memory_now(self._device) / 2**30}
        if self._share is not None:
            self.numbers["mfu"] = rate * self._share

    def _show(self, loss: float, steps: int) -> None:
        plain = self._bar is None
        if plain and self._step % self._plain_every and self._step != steps:
            return
        left = (time.monotonic() - self._started) / (self._step - self._first) * (steps - self._step)
        parts = [
            (0, f"loss {loss:.3f}"),
            (2, f"lr {self.curve[-1]['learning_rate']:.1e}"),
            (0, tokens_in_words(self.numbers["tokens_per_second"])),
            (1, f"{self.numbers['mfu']:.0%} MFU" if "mfu" in self.numbers else ""),
            (3, f"{self.numbers['memory_gib']:.1f} GiB"),
            (0, f"{seconds_in_words(left)} left" if plain else ""),
        ]
        parts = [(rank, text) for rank, text in parts if text]
        if plain:
            print(in_words([(0, f"  step {self._step}/{steps}"), *parts], 80), file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(in_words(parts, 44), refresh=False)
            self._bar.update(self._step - self._bar.n)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.close()
