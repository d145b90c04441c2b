"""Measure one candidate's speed: ``python -m framework.build.stages.time_candidate job.json``.

It runs in a fresh process, so that memory and libraries of one candidate do not count for the next. It
imports no more than the engine does: the libraries that a candidate needs are part of its load time and
its memory. It knows a folder and its engine, not the candidate's name.
"""

import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from framework.build.engine import (
    Engine,
    Generates,
    GeneratesTogether,
    Sampling,
    open_engine,
    require,
)
from framework.build.task import open_task
from framework.core.errors import FrameworkError, StepError
from framework.core.peak_memory import peak_memory

RESULT = "speed.json"
"""Written beside the job: ``metrics``, and ``batches``, one entry for each batch size."""
TOGETHER_TOKENS = 9
"""Tokens to generate for a batch of several prompts, where each token costs more than for one prompt."""


@dataclass(frozen=True)
class Job:
    """A candidate and how to time it; all fields but the first three are those of the config's benchmark."""

    engine: str
    folder: str
    task: str
    prompt_tokens: int
    new_tokens: int
    warmup: int
    repeats: int
    batch_sizes: tuple[int, ...]
    max_latency_ms: float | None
    threads: int


Batch = dict[str, float]
"""``size``, ``per_second`` (rows or tokens); ``p50_ms``, ``p90_ms``, ``p99_ms``, ``spread`` of its calls."""


def measure(job: Job) -> dict[str, Any]:
    """Return one candidate's ``metrics`` and ``batches``.

    Raises:
        ServeError: the candidate cannot be opened, or cannot do what the task needs.
        StepError: the context has no room for the prompt and two tokens.
    """
    started = time.perf_counter()
    engine = open_engine(job.engine, Path(job.folder), job.threads)
    loaded = time.perf_counter() - started
    # The work does not depend on the tokens. Small ids exist in every vocabulary.
    prompt = [5 + index % 50 for index in range(job.prompt_tokens)]
    time_task = _time_tokens if open_task(job.task).generates else _time_rows
    metrics, batches = time_task(job, engine, prompt)
    metrics |= {"load_seconds": loaded, "peak_memory_bytes": _peak()}
    return {"metrics": metrics, "batches": batches}


def _time_rows(job: Job, engine: Engine, prompt: list[int]) -> tuple[dict[str, float], list[Batch]]:
    """Time a classifier's calls, with a batch of each size."""
    task = open_task(job.task)
    batches = []
    for size in job.batch_sizes:
        rows = [task.sample(prompt)] * size
        seconds = _calls(partial(task.logits, engine, rows), job.warmup, job.repeats * 10)
        batches.append(_batch(size, seconds))
    largest = batches[-1]
    metrics = {f"batch_{name}": largest[name] for name in ("p50_ms", "p90_ms", "p99_ms", "spread")}
    best, rate = _best(batches, job.max_latency_ms)
    return {
        "rows_per_second": largest["per_second"],
        **metrics,
        "best_batch_size": best,
        "best_rows_per_second": rate,
    }, batches


def _time_tokens(job: Job, engine: Engine, prompt: list[int]) -> tuple[dict[str, float], list[Batch]]:
    """Time the first token and those after it, for one prompt and for several at once."""
    generator = require(engine, Generates)
    for _ in range(job.warmup):
        _decode(generator, prompt, 2)
    firsts, gaps = [], []
    for _ in range(job.repeats):
        first, between = _decode(generator, prompt, job.new_tokens)
        firsts.append(first)
        gaps += between
    batches = [_batch(1, gaps)]
    if isinstance(engine, GeneratesTogether):
        sizes = [size for size in job.batch_sizes if size > 1]
        batches += [_batch(size, _decode_together(engine, prompt, size)) for size in sizes]
    best, rate = _best(batches, job.max_latency_ms)
    metrics = {f"decode_{name}": batches[0][name] for name in ("p50_ms", "p90_ms", "p99_ms", "spread")}
    return {
        "first_token_ms": 1e3 * median(firsts),
        "prefill_tokens_per_second": len(prompt) / median(firsts),
        "decode_tokens_per_second": batches[0]["per_second"],
        **metrics,
        "best_batch_size": best,
        "best_tokens_per_second": rate,
    }, batches


def _calls(call: Callable[[], object], warmup: int, repeats: int) -> list[float]:
    """Return the seconds of each *call* after the warm-up."""
    seconds = []
    for number in range(warmup + repeats):
        started = time.perf_counter()
        call()
        if number >= warmup:
            seconds.append(time.perf_counter() - started)
    return seconds


def _decode(generator: Generates, prompt: list[int], new_tokens: int) -> tuple[float, list[float]]:
    """Return the seconds to the first token, and between consecutive tokens after it.

    Raises:
        StepError: the context has no room for two tokens.
    """
    times = [time.perf_counter()]
    for _ in generator.generate(prompt, new_tokens, Sampling(past_end=True)):
        times.append(time.perf_counter())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    if len(gaps) < 2:
        raise StepError(
            f"the context has no room for two tokens after a prompt of {len(prompt)}; "
            f"set benchmark.prompt_tokens={max(1, len(prompt) // 2)}"
        )
    return gaps[0], gaps[1:]


def _decode_together(generator: GeneratesTogether, prompt: list[int], size: int) -> list[float]:
    """Return the seconds between consecutive tokens of *size* prompts at once."""
    times = []
    for _ in generator.generate_together([prompt] * size, TOGETHER_TOKENS):
        times.append(time.perf_counter())
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def _batch(size: int, seconds: Sequence[float]) -> Batch:
    return {
        "size": size,
        "per_second": size / median(seconds),
        "p50_ms": 1e3 * median(seconds),
        "p90_ms": 1e3 * percentile(seconds, 0.9),
        "p99_ms": 1e3 * percentile(seconds, 0.99),
        "spread": spread(seconds),
    }


def _best(batches: Sequence[Batch], max_latency_ms: float | None) -> tuple[float, float]:
    """Return size and rate of the fastest batch with a p99 within the bound; 0 and 0 if there is none."""
    kept = [batch for batch in batches if max_latency_ms is None or batch["p99_ms"] <= max_latency_ms]
    best = max(kept, key=lambda batch: batch["per_second"], default={"size": 0, "per_second": 0})
    return best["size"], best["per_second"]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile.

    >>> percentile([5.0, 1.0, 3.0, 4.0, 2.0], 0.9), percentile([5.0, 1.0], 0.5)
    (5.0, 1.0)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Sequence[float]) -> float:
    """Return the interquartile range over the median: how reliable a single figure is.

    >>> round(spread([1.0, 2.0, 3.0]), 2), spread([2.0])
    (0.5, 0.0)
    """
    if len(values) < 2:
        return 0.0
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return (upper - lower) / middle


def _peak() -> float:
    """Return the GPU memory in use if the engine computes there, else this process's peak memory.

    Memory of other processes on the GPU is included, since torch's own count leaves out TensorRT's.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        free, total = torch.cuda.mem_get_info()
        return float(max(torch.cuda.max_memory_reserved(), total - free))
    return float(peak_memory())


def main(file: Path) -> int:
    """Run the job in *file*, write the result beside it, and return the exit code."""
    fields = json.loads(file.read_text(encoding="utf-8"))
    job = Job(**{**fields, "batch_sizes": tuple(fields["batch_sizes"])})
    try:
        result = measure(job)
    except FrameworkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    (file.parent / RESULT).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
