"""Callbacks of every training: random states, the position in the data, and the progress display."""

import sys
import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from framework.build.training.batches import Batches
from framework.build.training.throughput import (
    format_seconds,
    format_token_rate,
    join_fitting,
    memory_now,
    peak_flops,
)
from framework.core.errors import StepError


class RandomState(Callback):
    """Seed torch for each batch, from the seed, the batch's number and the data-parallel rank.

    A resumed run therefore draws the same dropout, even with fewer processes, without saving any random
    state. Processes that compute one batch together draw the same numbers.
    """

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed torch."""
        from numpy.random import SeedSequence

        batches = self.batches
        sequence = SeedSequence([batches.order.seed, batches.taken * batches.ranks + batches.rank])
        torch.manual_seed(int(sequence.generate_state(1)[0]))


class DataPosition(Callback):
    """Count the batches that training has used, and restore the position in the rows on resume.

    Another layout may resume if its steps have as many rows: it continues with the rows of the next step.
    """

    @property
    def state_key(self) -> str:
        """The key of its state in a checkpoint, which a renamed class must not change."""
        return "Position"

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    @property
    def _rows(self) -> int:
        """Rows of a micro batch, over all data-parallel ranks."""
        return self.batches.micro_batch_size * self.batches.ranks

    def state_dict(self) -> dict[str, Any]:
        """Return the rows seen so far, and the rows per step."""
        return {"rows": self.batches.taken * self._rows, "step": self._rows * self.batches.accumulation}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the position; Lightning starts to iterate after this.

        Raises:
            StepError: the checkpoint's run had another number of rows per step.
        """
        saved = checkpoint["callbacks"][self.state_key]
        if saved["step"] != self._rows * self.batches.accumulation:
            raise StepError(
                f"tune: the checkpoint has {saved['step']} rows per step, this run "
                f"{self._rows * self.batches.accumulation}; choose training.micro_batch_size and "
                f"training.gradient_accumulation_steps so that their product with {self.batches.ranks} "
                f"data-parallel process(es) is {saved['step']}"
            )
        self.batches.taken = saved["rows"] // self._rows
        # Lightning counts micro batches as well, to know when a step is complete.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts.update(dict.fromkeys(("ready", "started", "processed"), self.batches.taken))
            counts["completed"] = self.batches.taken - 1  # its value while a checkpoint is written

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count."""
        self.batches.taken += 1


class Progress(Callback):
    """Loss, throughput and remaining time: a bar on a terminal, else plain lines of at most 80 columns."""

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []
        """The entries of ``log.jsonl``, without times, so equal runs have equal logs."""
        self.performance: dict[str, float] = {}
        """``tokens_per_second`` and ``memory_gib`` of the last step. Also ``mfu`` (model FLOPs utilization)
        if the GPU's peak is known."""
        self._tokens = 0
        self._bar: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return the log, so that a resumed run's log is complete."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the log of the interrupted run."""
        self.curve = list(state_dict["curve"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and the bar on a terminal."""
        self._started, self._first, self._step = time.monotonic(), trainer.global_step, trainer.global_step
        self._losses: list[torch.Tensor] = []
        self._plain_every = max(1, trainer.max_steps // 10)
        module: Any = pl_module
        self._device, processes = module.device, module.parallelism.processes
        peak = peak_flops(torch.cuda.get_device_name(self._device)) if self._device.type == "cuda" else None
        self._mfu_per_rate = module.flops_per_token / (peak * processes) if peak else None
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
        """Count tokens; after an optimizer step, record and show the loss."""
        parallelism: Any = pl_module.parallelism
        self._tokens += batch["tokens"] * parallelism.data_parallel  # the other ranks see about as many
        # Lightning has divided by the accumulation, so the sum is the step's loss.
        self._losses.append(outputs["loss"].detach())
        if trainer.global_step == self._step:
            return  # still accumulating gradients
        self._step = trainer.global_step
        loss = float(trainer.strategy.reduce(torch.stack(self._losses).sum(), reduce_op="mean"))
        self._losses.clear()
        rate = pl_module.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]  # a single optimizer
        self.curve.append({"step": self._step, "loss": round(loss, 6), "learning_rate": rate})
        self._measure()
        if trainer.is_global_zero:
            self._show(loss, trainer.max_steps)

    def _measure(self) -> None:
        rate = self._tokens / max(time.monotonic() - self._started, 1e-9)
        self.performance = {"tokens_per_second": rate, "memory_gib": memory_now(self._device) / 2**30}
        if self._mfu_per_rate is not None:
            self.performance["mfu"] = rate * self._mfu_per_rate

    def _show(self, loss: float, steps: int) -> None:
        plain = self._bar is None
        if plain and self._step % self._plain_every and self._step != steps:
            return
        left = (time.monotonic() - self._started) / (self._step - self._first) * (steps - self._step)
        numbers = self.performance
        texts = [
            (0, f"loss {loss:.3f}"),
            (2, f"lr {self.curve[-1]['learning_rate']:.1e}"),
            (0, format_token_rate(numbers["tokens_per_second"])),
            (1, f"{numbers['mfu']:.0%} MFU" if "mfu" in numbers else ""),
            (3, f"{numbers['memory_gib']:.1f} GiB"),
            (0, f"{format_seconds(left)} left" if plain else ""),
        ]
        texts = [(priority, text) for priority, text in texts if text]
        if plain:
            line = join_fitting([(0, f"  step {self._step}/{steps}"), *texts], 80)
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.set_postfix_str(join_fitting(texts, 44), refresh=False)
            self._bar.update(self._step - self._bar.n)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
