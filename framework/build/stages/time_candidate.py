"""One candidate's speed, measured by ``python -m framework.build.stages.time_candidate job.json``.

A fresh process, so that what one candidate keeps in memory, or has loaded already, does not count for
the next. It knows a folder and its engine, not what the candidate is called, and it imports no more than
the engine does: libraries that a candidate needs at work are part of its load time and its memory.
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

from framework.build.engine import Engine, GeneratesTogether, Sampling, open_engine
from framework.build.task import open_task
from framework.core.errors import FrameworkError, StepError
from framework.core.peak_memory import peak_memory

RESULT = "speed.json"
"""Beside the job: ``metrics``, and ``batches``, a list of what was measured for each batch size."""
TOGETHER_TOKENS = 9
"""Tokens that a batch of more than one prompt generates: each costs far more than one of a single prompt."""


@dataclass(frozen=True)
class Job:
    """What is measured, and how; the fields besides the first three are those of the config's benchmark."""

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
"""``size``, ``per_second`` (rows, or tokens) and ``p50_ms``, ``p90_ms``, ``p99_ms``, ``spread`` of calls."""


def measure(job: Job) -> dict[str, Any]:
    """Return ``metrics`` by name and ``batches`` of one candidate."""
    started = time.perf_counter()
    engine = open_engine(job.engine, Path(job.folder), job.threads)
    loaded = time.perf_counter() - started
    # Any tokens do: the work does not depend on which. Small ids exist in every vocabulary.
    prompt = [5 + index % 50 for index in range(job.prompt_tokens)]
    speeds = _tokens if open_task(job.task).generates else _rows
    metrics, batches = speeds(job, engine, prompt)
    metrics |= {"load_seconds": loaded, "peak_memory_bytes": _peak()}
    return {"metrics": metrics, "batches": batches}


def _rows(job: Job, engine: Engine, prompt: list[int]) -> tuple[dict[str, float], list[Batch]]:
    """Time calls of a classifier, as many rows at once as each batch size says."""
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


def _tokens(job: Job, engine: Engine, prompt: list[int]) -> tuple[dict[str, float], list[Batch]]:
    """Time the first token and those after it, for one prompt and for several at once."""
    for _ in range(job.warmup):
        _decode(engine, prompt, 2)
    firsts, gaps = [], []
    for _ in range(job.repeats):
        first, between = _decode(engine, prompt, job.new_tokens)
        firsts.append(first)
        gaps += between
    batches = [_batch(1, gaps)]
    if isinstance(engine, GeneratesTogether):
        together = [size for size in job.batch_sizes if size > 1]
        batches += [_batch(size, _decode_together(engine, prompt, size)) for size in together]
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


def _calls(answer: Callable[[], object], warmup: int, repeats: int) -> list[float]:
    """Return the seconds of each call of *answer*, those of the warm-up left out."""
    seconds = []
    for number in range(warmup + repeats):
        started = time.perf_counter()
        answer()
        if number >= warmup:
            seconds.append(time.perf_counter() - started)
    return seconds


def _decode(engine: Engine, prompt: list[int], new_tokens: int) -> tuple[float, list[float]]:
    """Return the seconds to the first token, and between each two after it.

    Raises:
        StepError: the context has no room for two.
    """
    times = [time.perf_counter()]
    for _ in engine.generate(prompt, new_tokens, Sampling(past_end=True)):
        times.append(time.perf_counter())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    if len(gaps) < 2:
        raise StepError(
            f"behind a prompt of {len(prompt)} tokens the model sees no two more; "
            f"set benchmark.prompt_tokens={max(1, len(prompt) // 2)}"
        )
    return gaps[0], gaps[1:]


def _decode_together(engine: GeneratesTogether, prompt: list[int], size: int) -> list[float]:
    """Return the seconds between each two tokens after the first, of *size* prompts at once."""
    times = []
    for _ in engine.generate_together([prompt] * size, TOGETHER_TOKENS):
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
    """Return size and rate of the fastest batch whose p99 keeps the bound; 0 and 0 where none does."""
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
    """Return the interquartile range as a share of the median: how far one figure can be trusted.

    >>> round(spread([1.0, 2.0, 3.0]), 2), spread([2.0])
    (0.5, 0.0)
    """
    if len(values) < 2:
        return 0.0
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return (upper - lower) / middle


def _peak() -> float:
    """Return the GPU's memory in use where the engine computes there, else the peak of our own.

    What TensorRT holds, torch's own count does not know; what other processes hold there counts too.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        free, whole = torch.cuda.mem_get_info()
        return float(max(torch.cuda.max_memory_reserved(), whole - free))
    return float(peak_memory())


def main(file: Path) -> int:
    """Do the job in *file* and leave the result beside it; return the exit code."""
    fields = json.loads(file.read_text(encoding="utf-8"))
    job = Job(**{**fields, "batch_sizes": tuple(fields["batch_sizes"])})
    try:
        found = measure(job)
    except FrameworkError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    (file.parent / RESULT).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
