"""Stage ``benchmark``: how fast and how large each candidate is, measured the same way."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import ClassVar

from framework.config.schema import Benchmark
from framework.core.files import files_below
from framework.core.memory import peak_memory, reset_peak_memory
from framework.core.step import Stage, Workspace
from framework.engine import Engine, Sampling, open_engine
from framework.stages.evaluate import write_metrics
from framework.task import open_task

_WEIGHTS = (".safetensors", ".onnx", ".data", ".bin")


class Measure(Stage):
    """Time every candidate on one kind of input.

    Metrics for each candidate: ``size_bytes`` (weights and graph), ``peak_memory_bytes`` (of the
    whole process while it ran), for language models ``prefill_tokens_per_second``,
    ``decode_tokens_per_second``, ``decode_p50_ms`` and ``decode_p99_ms`` (a token), for classifiers
    ``rows_per_second``, ``batch_p50_ms`` and ``batch_p99_ms``. Seconds are of the wall clock, after
    one warm-up; they hold for this machine and this moment only.
    """

    name: ClassVar[str] = "benchmark"
    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("torch", "onnxruntime", "onnxruntime-genai")

    benchmark: Benchmark
    """What is timed, how often, with how many threads."""
    task: str
    """The model's task."""
    engines: dict[str, str]
    """The engine of each candidate; its keys are also the slots of the inputs."""

    @staticmethod
    def metrics(task: str) -> tuple[str, ...]:
        """Return the names that each candidate gets for *task*, so that a gate can be checked early."""
        tokens = ("prefill_tokens_per_second", "decode_tokens_per_second", "decode_p50_ms", "decode_p99_ms")
        rows = ("rows_per_second", "batch_p50_ms", "batch_p99_ms")
        return ("size_bytes", "peak_memory_bytes", *(tokens if open_task(task).generates else rows))

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Measure every candidate in turn."""
        metrics: dict[str, float] = {}
        for candidate, engine_name in self.engines.items():
            folder = inputs[candidate]
            reset_peak_memory()
            engine = open_engine(engine_name, folder, self.benchmark.threads)
            measured = self._speed(engine)
            measured["size_bytes"] = sum(
                p.stat().st_size for p in files_below(folder) if p.suffix in _WEIGHTS
            )
            measured["peak_memory_bytes"] = peak_memory()
            metrics |= {f"{candidate}.{name}": value for name, value in measured.items()}
            del engine
        write_metrics(output, metrics)

    def _speed(self, engine: Engine) -> dict[str, float]:
        # Any tokens do: the work does not depend on which. Small ids exist in every vocabulary.
        prompt = [5 + index % 50 for index in range(self.benchmark.prompt_tokens)]
        task, size = open_task(self.task), self.benchmark.batch_size
        if not task.generates:
            rows = [task.sample(prompt)] * size
            return _row_speed(lambda: task.logits(engine, rows), size, self.benchmark.repeats * 10)
        _decode(engine, prompt, 2)
        prefills, gaps = [], []
        for _ in range(self.benchmark.repeats):
            first, between = _decode(engine, prompt, self.benchmark.new_tokens)
            prefills.append(len(prompt) / first)
            gaps += between
        return {
            "prefill_tokens_per_second": median(prefills),
            "decode_tokens_per_second": 1 / median(gaps),
            "decode_p50_ms": 1e3 * median(gaps),
            "decode_p99_ms": 1e3 * _percentile(gaps, 0.99),
        }


def _row_speed(answer: Callable[[], object], rows: int, repeats: int) -> dict[str, float]:
    """Time *answer*, one call for so many *rows*."""
    answer()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        answer()
        seconds.append(time.perf_counter() - started)
    return {
        "rows_per_second": rows / median(seconds),
        "batch_p50_ms": 1e3 * median(seconds),
        "batch_p99_ms": 1e3 * _percentile(seconds, 0.99),
    }


def _decode(engine: Engine, prompt: list[int], new_tokens: int) -> tuple[float, list[float]]:
    """Return the seconds to the first token, and between each two after it."""
    times = [time.perf_counter()]
    for _ in engine.generate(prompt, new_tokens, Sampling(past_end=True)):
        times.append(time.perf_counter())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return gaps[0], gaps[1:]


def _percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * len(ordered)))]
