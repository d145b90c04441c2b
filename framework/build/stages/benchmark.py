"""Stage ``benchmark``: how fast and how large each candidate is, measured the same way."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from framework.build.stages.evaluate import write_metrics
from framework.build.stages.time_candidate import RESULT, Job
from framework.build.task import open_task
from framework.core.component import Component
from framework.core.errors import StepError
from framework.core.filesystem import files_below
from framework.core.step import Stage, Workspace

BATCHES = "batches.json"
"""Beside ``metrics.json``: for each candidate what was measured for each batch size."""
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
    """How fast each candidate is: measured the same way for all of them."""

    prompt_tokens: Annotated[int, Field(ge=1)] = 64
    """Tokens of the prompt that the first token is timed on, or of a classifier's row."""
    new_tokens: Annotated[int, Field(ge=3)] = 32
    """Tokens that are generated one by one for decode speed and its percentiles."""
    warmup: Annotated[int, Field(ge=0)] = 1
    """Calls before the clock starts; 0 counts what a runtime prepares on its first call."""
    repeats: Annotated[int, Field(ge=1)] = 3
    """How often the whole measurement is taken, ten times as often for classifiers; medians, percentiles
    and spreads are over all of it."""
    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 4, 16)
    """Rows of one classifier call, or prompts that are answered at once, in growing order; classifiers'
    headline speed is of the last."""
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None
    """The bound within which the best batch size is chosen, in milliseconds: p99 of a classifier's call, or
    between two tokens of an answer. None chooses the fastest."""
    threads: Annotated[int, Field(ge=1)] = 1
    """CPU threads of every engine, equal for all candidates."""

    @field_validator("batch_sizes")
    @classmethod
    def _growing(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)):
            raise PydanticCustomError(
                "batch_sizes", "give each size once, in growing order, such as [1, 4, 16]"
            )
        return sizes


class Measure(Stage):
    """Time every candidate on one kind of input, each in a process of its own.

    Metrics of every candidate: ``size_bytes`` (weights and graph), ``load_seconds`` (from a fresh process
    to a model that answers: libraries and weights) and ``peak_memory_bytes`` (the highest resident memory
    of that process, libraries and all; where the engine computes on a GPU, the memory in use there). What
    tokens cost, the report reckons: a price shapes no speed.

    Language models: ``first_token_ms`` (of one prompt), ``prefill_tokens_per_second``,
    ``decode_tokens_per_second``, and of the time between two tokens ``decode_p50_ms``, ``decode_p90_ms``,
    ``decode_p99_ms`` and ``decode_spread``. Classifiers: ``rows_per_second``, ``batch_p50_ms``,
    ``batch_p90_ms``, ``batch_p99_ms`` and ``batch_spread`` of a call with the largest batch.
    A spread is the interquartile range over the median. ``best_batch_size`` is the fastest batch size
    within ``benchmark.max_latency_ms``, ``best_tokens_per_second`` or ``best_rows_per_second`` its speed;
    both are 0 where none keeps the bound.

    Seconds are of the wall clock; they hold for this machine and this moment only.
    """

    name: ClassVar[str] = "benchmark"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("torch", "onnxruntime", "onnxruntime-genai")

    benchmark: Benchmark
    """What is timed, how often, with how many threads."""
    task: str
    """The model's task."""
    engines: dict[str, str]
    """The engine of each candidate; its keys are also the slots of the inputs."""

    def measures(self) -> Mapping[str, str]:
        """Return the timed candidates, each with the input of its name."""
        return {name: name for name in self.engines}

    @staticmethod
    def metrics(task: str) -> tuple[str, ...]:
        """Return the names that each candidate gets for *task*, so that a gate can be checked early."""
        return (*_OF_ALL, *(_OF_TOKENS if open_task(task).generates else _OF_ROWS))

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Measure every candidate in turn.

        Raises:
            StepError: a candidate cannot be opened, or its process was ended.
        """
        metrics: dict[str, float] = {}
        batches: dict[str, Any] = {}
        for candidate, engine in self.engines.items():
            folder = inputs[candidate]
            found = self._measured(candidate, engine, folder, workspace.scratch)
            measured = {**found["metrics"], "size_bytes": _size(folder)}
            metrics |= {f"{candidate}.{name}": value for name, value in measured.items()}
            batches[candidate] = [
                {name: round(value, 6) for name, value in batch.items()} for batch in found["batches"]
            ]
        write_metrics(output, metrics)
        (output / BATCHES).write_text(json.dumps(batches, indent=2, sort_keys=True) + "\n")

    def _measured(self, candidate: str, engine: str, folder: Path, scratch: Path) -> dict[str, Any]:
        """Return what ``framework.build.stages.time_candidate`` finds in a process of its own."""
        timing = {name: getattr(self.benchmark, name) for name in type(self.benchmark).model_fields}
        job = Job(engine=engine, folder=str(folder.resolve()), task=self.task, **timing)
        file = scratch / "job.json"
        file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "framework.build.stages.time_candidate", str(file)]
        # In our own process group, so that it ends with us.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise StepError(f"benchmark: {candidate}: {_why(done)}")
        found: dict[str, Any] = json.loads((scratch / RESULT).read_text(encoding="utf-8"))
        return found


def _why(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        reason = "; the system ends what takes too much memory" if done.returncode == -signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-done.returncode).name}{reason}"
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"its process ended with {done.returncode}"


def _size(folder: Path) -> int:
    """Return the bytes of what an engine loads: of an engine file, without the graph that it was built of."""
    weights = [path for path in files_below(folder) if path.suffix in _WEIGHTS]
    built = [path for path in weights if path.suffix == _ENGINE]
    return sum(path.stat().st_size for path in built or weights)
