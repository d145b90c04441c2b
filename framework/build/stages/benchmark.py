"""Stage ``benchmark``: measure speed, size and memory of every candidate."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from framework.build.stages.evaluate import write_metrics
from framework.build.stages.time_candidate import RESULT, TOGETHER_TOKENS, Job
from framework.build.task import open_task
from framework.core.component import Component
from framework.core.errors import StepError
from framework.core.filesystem import files_below
from framework.core.signals import describe_exit
from framework.core.step import Stage, Workspace
from framework.core.workload import LIBRARIES, Estimate, Workload

BATCHES = "batches.json"
"""The file with the measurements of each candidate by batch size."""
_ENGINE = ".engine"
_WEIGHTS = (".safetensors", ".onnx", ".data", ".bin", ".gguf", _ENGINE)
_OF_ALL = ("size_bytes", "load_seconds", "peak_memory_bytes")
_OF_TOKENS = (
    *("first_token_ms", "prefill_tokens_per_second", "decode_tokens_per_second"),
    *("decode_p50_ms", "decode_p90_ms", "decode_p99_ms", "decode_spread"),
    *("best_batch_size", "best_tokens_per_second"),
)
_OF_ROWS = (
    *("rows_per_second", "batch_p50_ms", "batch_p90_ms", "batch_p99_ms", "batch_spread"),
    *("best_batch_size", "best_rows_per_second"),
)


class Benchmark(Component):
    """How speed is measured; the same for every candidate."""

    prompt_tokens: Annotated[int, Field(ge=1)] = 64
    """Tokens of the prompt, or of a classifier's row."""
    new_tokens: Annotated[int, Field(ge=3)] = 32
    """Tokens to generate for decode speed and its percentiles."""
    warmup: Annotated[int, Field(ge=0)] = 1
    """Untimed calls before the measurement; 0 includes what a runtime prepares in its first call."""
    repeats: Annotated[int, Field(ge=1)] = 3
    """Number of measurements, ten times as many for classifiers. Medians, percentiles and spreads are over
    all of them."""
    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 4, 16)
    """Rows per classifier call, or prompts answered together, in ascending order. A classifier's main metrics
    are those of the last size."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """Latency limit for the best batch size, in milliseconds: the p99 of a classifier's call, or of the time
    between two tokens. None selects the fastest."""
    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads of every engine."""

    @field_validator("batch_sizes")
    @classmethod
    def _growing(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)):
            raise PydanticCustomError(
                "batch_sizes", "each size must occur once, in ascending order, such as [1, 4, 16]"
            )
        return sizes


class Measure(Stage):
    """Time every candidate on the same input, each in its own process.

    Every candidate has ``size_bytes`` (weights and graph), ``load_seconds`` (libraries and weights, in a new
    process) and ``peak_memory_bytes`` (peak resident memory of that process, or memory in use on the GPU).
    The report computes the cost of tokens from the price.

    Language models have ``first_token_ms`` (of one prompt), ``prefill_tokens_per_second`` and
    ``decode_tokens_per_second``. The time between two tokens is ``decode_p50_ms``, ``decode_p90_ms``,
    ``decode_p99_ms`` and ``decode_spread``. Classifiers have ``rows_per_second``, ``batch_p50_ms``,
    ``batch_p90_ms``, ``batch_p99_ms`` and ``batch_spread`` of a call with the largest batch. A spread is the
    interquartile range over the median.

    ``best_batch_size`` is the fastest batch size within ``benchmark.max_latency_ms``, and
    ``best_tokens_per_second`` or ``best_rows_per_second`` its speed. Both are 0 if none meets the limit.

    Times are wall-clock times of this machine and run.
    """

    name: ClassVar[str] = "benchmark"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("torch", "onnxruntime", "onnxruntime-genai")

    benchmark: Benchmark
    """The settings of the measurement."""
    task: str
    """The model's task."""
    engines: dict[str, str]
    """The engine of each candidate; the keys are also the slots of the inputs."""

    def measures(self) -> Mapping[str, str]:
        """Return the timed candidates, each with the input of its name."""
        return {name: name for name in self.engines}

    @staticmethod
    def metrics(task: str) -> tuple[str, ...]:
        """Return the metrics of each candidate for *task*, so that gates can be checked by the plan."""
        return (*_OF_ALL, *(_OF_TOKENS if open_task(task).generates else _OF_ROWS))

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Measure every candidate, one after the other.

        Raises:
            StepError: a candidate cannot be opened, or its process was killed.
        """
        metrics: dict[str, float] = {}
        batches: dict[str, Any] = {}
        for candidate, engine in self.engines.items():
            folder = inputs[candidate]
            result = self._run_job(candidate, engine, folder, workspace.scratch)
            measured = {**result["metrics"], "size_bytes": _size(folder)}
            metrics |= {f"{candidate}.{name}": value for name, value in measured.items()}
            batches[candidate] = [
                {name: round(value, 6) for name, value in batch.items()} for batch in result["batches"]
            ]
        write_metrics(output, metrics)
        (output / BATCHES).write_text(json.dumps(batches, indent=2, sort_keys=True) + "\n")

    def estimate(self, workload: Workload) -> Estimate:
        """Predict for each candidate a process that imports its libraries, then its timed calls."""
        seconds = sum(self._timing_seconds(engine, workload) for engine in self.engines.values())
        return Estimate(seconds, LIBRARIES + 2 * workload.weight_bytes)

    def _timing_seconds(self, engine: str, workload: Workload) -> float:
        """Return the time of one candidate.

        A generated token reads every weight; a token of a prompt costs two operations a weight. In a
        classifier it costs half of that, since half of an encoder is a table of embeddings.
        """
        timing, parameters = self.benchmark, workload.parameters
        start = 6.0 if engine == "torch" else 1.0
        if not open_task(self.task).generates:
            rows = 10 * timing.repeats * sum(timing.batch_sizes)
            return start + rows * timing.prompt_tokens * parameters / workload.flops
        batches = [size for size in timing.batch_sizes if size > 1]
        prompts = (timing.repeats + sum(batches)) * timing.prompt_tokens
        generated = timing.repeats * timing.new_tokens + TOGETHER_TOKENS * len(batches)
        return start + 2 * parameters * prompts / workload.flops + generated * 4 * parameters / 1.3e10

    def _run_job(self, candidate: str, engine: str, folder: Path, scratch: Path) -> dict[str, Any]:
        """Run ``framework.build.stages.time_candidate`` in its own process and return its result."""
        timing = {name: getattr(self.benchmark, name) for name in type(self.benchmark).model_fields}
        job = Job(engine=engine, folder=str(folder.resolve()), task=self.task, **timing)
        file = scratch / "job.json"
        file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "framework.build.stages.time_candidate", str(file)]
        # In our process group, so that a signal ends both.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise StepError(f"benchmark: {candidate}: {_failure(done)}")
        result: dict[str, Any] = json.loads((scratch / RESULT).read_text(encoding="utf-8"))
        return result


def _failure(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1] if done.returncode > 0 and lines else f"its process {describe_exit(done.returncode)}"


def _size(folder: Path) -> int:
    """Return the bytes that an engine loads: those of the engine file if there is one, without its graph."""
    weights = [path for path in files_below(folder) if path.suffix in _WEIGHTS]
    engines = [path for path in weights if path.suffix == _ENGINE]
    return sum(path.stat().st_size for path in engines or weights)
