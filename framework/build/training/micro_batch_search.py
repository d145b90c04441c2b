"""The largest micro batch that fits into memory, and advice where nothing did."""

import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from framework.build.task import Task
from framework.build.training import Training
from framework.build.training.batches import Batches, model_inputs
from framework.build.training.memory_estimate import activation_bytes, trained_bytes, what_saves_most
from framework.build.tuning import Tuning
from framework.core.errors import StepError
from framework.core.peak_memory import available_memory, peak_memory, reset_peak_memory, resident_memory

_CHOICE = "micro_batch_size.json"
"""The size that a run took, in its scratch folder: one that goes on must count the same batches."""
_SPARE = 0.8
"""The share of free memory that may be planned with; the rest is for what is not tried here."""
_CPU_WORDS = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


def largest_micro_batch(training: Training, model: Any, batches: Batches, device: str, scratch: Path) -> int:
    """Return the largest power of two that fits and divides the rows of a step.

    On a GPU ever larger batches of the longest rows go forward and backward until one does not fit; on
    the CPU, where nothing says so in time, two small ones are measured and the rest is reckoned.

    Raises:
        StepError: not even one row fits.
    """
    file = scratch / _CHOICE
    if file.exists():
        return int(json.loads(file.read_text(encoding="utf-8")))
    rows = training.rows_a_step()
    sizes = [2**power for power in range(rows.bit_length()) if rows % 2**power == 0]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    aside = (trained_bytes(training) - 4) * trained
    trial = _Trial(training, model, batches, device)
    found = trial.on_gpu(sizes, aside) if device == "cuda" else trial.on_cpu(sizes, aside)
    file.write_text(json.dumps(found), encoding="utf-8")
    return found


class _Trial:
    """Forward and backward passes that leave nothing behind: no gradient, no random number drawn."""

    def __init__(self, training: Training, model: Any, batches: Batches, device: str) -> None:
        self.training, self.model, self.batches, self.device = training, model, batches, device
        lengths = [len(ids) for ids, *_ in batches.examples]
        self.longest = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        self.tokens = lengths[self.longest[0]]

    def on_gpu(self, sizes: list[int], aside: float) -> int:
        import torch

        found = 0
        self.model.to(self.device)
        with _memory_taken(aside, self.device):
            for size in sizes:
                try:
                    self._run(size)
                except torch.OutOfMemoryError:
                    break
                found = size
        gc.collect()
        torch.cuda.empty_cache()
        if not found:
            raise torch.OutOfMemoryError("not even one row fits")
        return found

    def on_cpu(self, sizes: list[int], aside: float) -> int:
        took = []
        for size in (1, 2):
            before = resident_memory()
            reset_peak_memory()
            self._run(size)
            took.append(max(peak_memory() - before, 0))
        parameters = float(sum(p.numel() for p in self.model.parameters()))
        reckoned = activation_bytes(self.training, parameters, self.tokens)
        a_row = max(took[1] - took[0], reckoned)
        room = _SPARE * available_memory() - aside - max(took[0] - a_row, 0)
        return max((size for size in sizes if size * a_row <= room), default=1)

    def _run(self, size: int) -> None:
        import torch

        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
        kind = kinds[self.training.precision]
        chosen = (self.longest * size)[:size]
        batch = self.batches.of(chosen)
        inputs = {
            name: value.to(self.device) if torch.is_tensor(value) else value
            for name, value in model_inputs(batch).items()
        }
        self.model.train()
        devices = [torch.cuda.current_device()] if self.device == "cuda" else []
        with torch.random.fork_rng(devices):
            with torch.autocast(self.device, kind, enabled=kind is not torch.float32):
                loss = self.batches.task.loss(self.model, inputs) / max(batch["weight"], 1)
            loss.backward()
        self.model.zero_grad(set_to_none=True)


@contextlib.contextmanager
def _memory_taken(size: float, device: str) -> Iterator[None]:
    """Hold *size* bytes, which the optimiser will want, while the block runs."""
    import torch

    held = torch.empty(int(size), dtype=torch.uint8, device=device)
    yield
    del held


@contextlib.contextmanager
def told_how_to_fit(
    training: Training, tuning: Tuning, model: Any, batches: Batches, device: str
) -> Iterator[None]:
    """Turn memory that has run out in the block into a ``StepError`` with the changes that save most."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        task: Task = batches.task
        known = training.sized(training.least_micro_batch_size)
        longest = max(len(ids) for ids, *_ in batches.examples)
        parameters = float(sum(p.numel() for p in model.parameters()))
        changes = what_saves_most(
            known, tuning, parameters, longest, generates=task.generates, on_cpu=device == "cpu"
        )
        raise StepError(
            f"tune: the memory of the {'GPU' if device == 'cuda' else 'machine'} ran out with "
            f"{known.micro_batch_size} rows of up to {longest} tokens at once; what saves most, the most "
            f"effective first: {'; '.join(changes) or 'a smaller model=<option>'}"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in _CPU_WORDS
    )
