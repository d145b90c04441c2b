"""Finds the largest micro batch that fits into memory, and advises when memory runs out."""

import contextlib
import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from framework.build.task import Task
from framework.build.training import Training
from framework.build.training.batches import Batches, model_inputs
from framework.build.training.memory_estimate import activation_bytes, rank_memory_savings, trained_bytes
from framework.build.tuning import Tuning
from framework.core.errors import StepError
from framework.core.peak_memory import available_memory, peak_memory, reset_peak_memory, resident_memory

_CHOICE = "micro_batch_size.json"
"""The chosen size, in the scratch folder: a resumed run must count the same batches."""
_USABLE = 0.8
"""The share of free memory to use; the rest is for what this search does not run."""
_CPU_MESSAGES = ("DefaultCPUAllocator", "not enough memory", "can't allocate memory")


def largest_micro_batch(training: Training, model: Any, batches: Batches, device: str, scratch: Path) -> int:
    """Return the largest power of two that fits and divides the rows of a step.

    On a GPU, it runs ever larger batches of the longest rows forward and backward until one does not fit.
    The CPU reports no lack of memory in time, so there it measures two small batches and extrapolates.

    Raises:
        torch.OutOfMemoryError: not even one row fits on the GPU; see ``advise_on_oom``.
    """
    file = scratch / _CHOICE
    if file.exists():
        return int(json.loads(file.read_text(encoding="utf-8")))
    rows = training.rows_a_step()
    sizes = [2**power for power in range(rows.bit_length()) if rows % 2**power == 0]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    reserved = (trained_bytes(training) - 4) * trained
    trial = _Trial(training, model, batches, device)
    chosen = trial.on_gpu(sizes, reserved) if device == "cuda" else trial.on_cpu(sizes, reserved)
    file.write_text(json.dumps(chosen), encoding="utf-8")
    return chosen


class _Trial:
    """Forward and backward passes without side effects: gradients and random state stay as they were."""

    def __init__(self, training: Training, model: Any, batches: Batches, device: str) -> None:
        self.training, self.model, self.batches, self.device = training, model, batches, device
        lengths = [len(ids) for ids, *_ in batches.examples]
        self.longest = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        self.tokens = lengths[self.longest[0]]

    def on_gpu(self, sizes: list[int], reserved: float) -> int:
        """Return the largest of *sizes* that runs while *reserved* bytes are allocated."""
        import torch

        largest = 0
        self.model.to(self.device)
        with _allocated(reserved, self.device):
            for size in sizes:
                try:
                    self._run(size)
                except torch.OutOfMemoryError:
                    break
                largest = size
        gc.collect()
        torch.cuda.empty_cache()
        if not largest:
            raise torch.OutOfMemoryError("not even one row fits")
        return largest

    def on_cpu(self, sizes: list[int], reserved: float) -> int:
        """Return the largest of *sizes* that should fit beside *reserved* bytes; at least 1."""
        used = []
        for size in (1, 2):
            before = resident_memory()
            reset_peak_memory()
            self._run(size)
            used.append(max(peak_memory() - before, 0))
        parameters = float(sum(p.numel() for p in self.model.parameters()))
        estimated = activation_bytes(self.training, parameters, self.tokens)
        bytes_per_row = max(used[1] - used[0], estimated)
        free = _USABLE * available_memory() - reserved - max(used[0] - bytes_per_row, 0)
        return max((size for size in sizes if size * bytes_per_row <= free), default=1)

    def _run(self, size: int) -> None:
        import torch

        dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
        dtype = dtypes[self.training.precision]
        rows = (self.longest * size)[:size]
        batch = self.batches.of(rows)
        inputs = {
            name: value.to(self.device) if torch.is_tensor(value) else value
            for name, value in model_inputs(batch).items()
        }
        self.model.train()
        devices = [torch.cuda.current_device()] if self.device == "cuda" else []
        with torch.random.fork_rng(devices):
            with torch.autocast(self.device, dtype, enabled=dtype is not torch.float32):
                loss = self.batches.task.loss(self.model, inputs) / max(batch["weight"], 1)
            loss.backward()
        self.model.zero_grad(set_to_none=True)


@contextlib.contextmanager
def _allocated(size: float, device: str) -> Iterator[None]:
    """Allocate *size* bytes, which the optimizer will need, while the block runs."""
    import torch

    block = torch.empty(int(size), dtype=torch.uint8, device=device)
    yield
    del block


@contextlib.contextmanager
def advise_on_oom(
    training: Training, tuning: Tuning, model: Any, batches: Batches, device: str
) -> Iterator[None]:
    """Raise a ``StepError`` that suggests overrides if the block runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        task: Task = batches.task
        tried = training.sized(training.least_micro_batch_size)
        longest = max(len(ids) for ids, *_ in batches.examples)
        parameters = float(sum(p.numel() for p in model.parameters()))
        changes = rank_memory_savings(
            tried, tuning, parameters, longest, generates=task.generates, on_cpu=device == "cpu"
        )
        raise StepError(
            f"tune: out of {'GPU memory' if device == 'cuda' else 'memory'} with {tried.micro_batch_size} "
            f"row(s) of up to {longest} tokens per micro batch; try, the most effective first: "
            f"{'; '.join(changes) or 'a smaller model=<option>'}"
        ) from error


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        message in str(error) for message in _CPU_MESSAGES
    )
