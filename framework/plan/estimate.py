"""What a step will take, before it runs: seconds and memory from a few formulas.

Every formula says where it comes from. They are for deciding whether to start, not for billing;
``benchmarks/quickstart.py`` prints how far they are from what was measured. Where the encode step is
built already, its true number of rows and tokens is used instead of a guess.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from framework.build.data import Data
from framework.build.data.mix import Mix
from framework.build.stages.benchmark import Measure
from framework.build.stages.encode import EncodeRows
from framework.build.stages.read import ReadRows
from framework.build.stages.time_candidate import TOGETHER_TOKENS
from framework.build.stages.tune import Tune
from framework.build.task import open_task
from framework.build.training.memory_estimate import VOCABULARY, trained_bytes, tune_bytes, weight_bytes
from framework.config.schema import Config, Phase
from framework.core.filesystem import files_below
from framework.core.source import Source
from framework.core.step import Step

_BYTES_PER_TOKEN = 4
_GUESSED_ROWS = 1000
_MANY_ROWS = 10**7
_LIBRARIES = 0.6 * 2**30
"""Resident memory of Python with torch, transformers and Lightning imported, measured."""
_DISK = 200e6
"""Bytes per second that a model is read, converted and written at on a small machine."""

_COPIES = {"model": 5.0, "merge": 0.6, "reshape": 0.7, "export": 0.7, "compress": 0.7, "publish": 0.1}
"""How often the other stages read or write the float32 weights."""


@dataclass(frozen=True)
class Estimate:
    """What one step is expected to take."""

    seconds: float
    memory: float
    """Peak resident memory (or GPU memory) in bytes."""


@dataclass(frozen=True)
class Rows:
    """How much data there is: rows and mean tokens a row, for each split."""

    train: float
    test: float
    length: float


def count_rows(config: Config, data_folder: Path | None) -> Rows:
    """Return the true numbers where the encode step is built, else a guess from the local files' sizes."""
    if data_folder is not None:
        summary = json.loads((data_folder / "summary.json").read_text())
        train, test = summary["train"], summary["test"]
        return Rows(train["rows"], test["rows"], train["tokens"] / max(train["rows"], 1))
    return _guess(config.data, config.training.max_steps is not None)


def _guess(data: Data, limited: bool) -> Rows:
    """Guess from the sizes of local files; *limited* says that a limit on the steps ends training."""
    longest = float(data.max_length)
    if isinstance(data, Mix):
        parts = {name: _guess(part.data, limited) for name, part in data.parts.items()}
        shares = {name: part.share / data.total_share for name, part in data.parts.items()}
        train = data.rows or min(found.train / shares[name] for name, found in parts.items())
        test = sum(parts[name].test for name in data.tested)
        length = sum(shares[name] * found.length for name, found in parts.items())
        return Rows(train, min(test, data.test_rows or test), min(length, longest))
    local = [c.fetch() for c in data.walk() if isinstance(c, Source) and c.local]
    files = [file for path in local for file in (files_below(path) if path.is_dir() else [path])]
    if not files:
        # Nothing to look at before it is downloaded: a limit on the steps is then all that is known.
        return Rows(_MANY_ROWS if limited else _GUESSED_ROWS, _GUESSED_ROWS, longest / 2)
    size, row = sum(file.stat().st_size for file in files), _row_size(files[0])
    return Rows(size / row, size / row / 10, min(row / _BYTES_PER_TOKEN, longest))


def _row_size(file: Path) -> float:
    """Return the mean bytes of a line, from the first of them; most formats have one row a line."""
    with file.open("rb") as stream:
        sample = stream.read(2**20)
    return len(sample) / max(sample.count(b"\n"), 1)


def tune_memory(config: Config, length: float | None = None) -> float:
    """Return the bytes that training needs at its peak: on a GPU one process's, on the CPU those of all.

    The formulas are those of ``framework.build.training.memory_estimate``. On the CPU each process opens
    the whole model before it keeps its share.
    """
    training, on_cpu = config.training, config.environment.hardware.device == "cpu"
    tokens = training.least_micro_batch_size * (length or config.data.max_length / 2)
    generates = open_task(config.model.task).generates
    parameters, layout = config.model.parameters, config.parallelism
    whole = tune_bytes(training, config.tuning, parameters, tokens, generates=generates, on_cpu=on_cpu)
    weights = weight_bytes(training, config.tuning, parameters, on_cpu=on_cpu)
    trained = trained_bytes(training) * config.tuning.trainable(parameters)
    kept = max(weights * layout.weight_share, 4 * parameters if on_cpu else 0.0)
    one = _LIBRARIES + whole - (weights - kept) - trained * (1 - layout.optimizer_share)
    one += 4 * parameters if training.taught else 0.0  # a teacher, taken to be as large as the model
    return one * (layout.processes // layout.nodes) if on_cpu else one


def view(step: Step, config: Config) -> Config:
    """Return *config* as the tune step *step* sees it: its own phase's data, tuning and training."""
    encode, tune = step.needs["data"], step.stage
    if not isinstance(encode.stage, EncodeRows) or not isinstance(tune, Tune):
        raise TypeError(f"'{step.label}' does not tune")
    read = next(step.stage for step in encode.walk() if isinstance(step.stage, ReadRows))
    data = encode.stage.limit(read.data)
    return config.during(Phase(data=data, tuning=tune.tuning, training=tune.training))


def estimate(step: Step, config: Config, rows: Mapping[str, Rows]) -> Estimate:
    """Return what *step* is expected to take on ``environment.hardware``.

    Args:
        step: a step of the plan.
        config: the whole config.
        rows: how much data there is, by the key of the encode step.
    """
    parameters, flops = config.model.parameters, config.environment.hardware.flops
    size = 4 * parameters
    kind = step.stage.name
    read = [rows[need.key] for need in step.needs.values() if need.stage.name == "encode"]
    if kind == "tune":
        seen = view(step, config)
        return Estimate(_tune_seconds(seen, read[0]), tune_memory(seen, read[0].length))
    if kind in ("evaluate", "evaluate-phases"):
        # Two operations a weight and token (forward only), and two answers of 32 tokens that are
        # bound by memory: each token reads every weight.
        tokens = sum(min(part.test, config.evaluation.rows or part.test) * part.length for part in read)
        seconds = 2 * parameters * tokens / flops + len(read) * (3 + 64 * size / 1e10)
        longest = max(part.length for part in read)
        return Estimate(seconds, _LIBRARIES + size + 4 * longest * VOCABULARY * 8)
    if kind == "parity":
        compared = min(read[0].test, config.export.parity.rows)
        seconds = 3 + 3 * 2 * parameters * compared * read[0].length / flops
        seconds += 3 * config.export.parity.generations * 32 * size / 1e10
        return Estimate(seconds, _LIBRARIES + 3 * size)
    if isinstance(step.stage, Measure):
        seconds = sum(_timing_seconds(config, engine) for engine in step.stage.engines.values())
        return Estimate(seconds, _LIBRARIES + 2 * size)
    factor = _COPIES.get(kind, 0.0)
    return Estimate(1 + factor * size / _DISK, _LIBRARIES + min(factor, 3.0) * size)


def _timing_seconds(config: Config, engine: str) -> float:
    """Return what timing one candidate takes: a process that imports its libraries, then its calls.

    A token that is generated reads every weight; one that is read costs two operations a weight, in a
    classifier half of that, since half of an encoder is a table of embeddings.
    """
    timing, parameters = config.benchmark, config.model.parameters
    started, flops = (6.0 if engine == "torch" else 1.0), config.environment.hardware.flops
    if not open_task(config.model.task).generates:
        rows = 10 * timing.repeats * sum(timing.batch_sizes)
        return started + rows * timing.prompt_tokens * parameters / flops
    together = [size for size in timing.batch_sizes if size > 1]
    read = (timing.repeats + sum(together)) * timing.prompt_tokens
    generated = timing.repeats * timing.new_tokens + TOGETHER_TOKENS * len(together)
    return started + 2 * parameters * read / flops + generated * 4 * parameters / 1.3e10


def _tune_seconds(config: Config, rows: Rows) -> float:
    """Six operations a weight and token where all is trained, four where the base is frozen.

    Forward 2N, gradient of the activations 2N, gradient of the weights 2N (Kaplan et al., 2020,
    arXiv:2001.08361, appendix B); a frozen weight needs no gradient of its own.
    """
    training, parameters = config.training, config.model.parameters
    layout = config.parallelism
    steps = training.steps(int(rows.train), layout.data_parallel)
    tokens = steps * training.rows_a_step(layout.data_parallel) * rows.length
    share = config.tuning.trainable(parameters) / parameters
    operations = (4 + 2 * share) * parameters * tokens
    validation = training.validation
    measured = (steps // validation.every_steps + 1) * validation.count(int(rows.train)) * rows.length
    operations += 2 * parameters * measured
    slower = 2.0 if training.precision == "fp32" else 1.0
    if training.gradient_checkpointing:
        operations += 2 * parameters * tokens  # one more forward pass
    if training.taught:
        operations += 2 * parameters * tokens  # the teacher's forward pass
    hardware = config.environment.hardware
    # Processes on CPUs share those of their machine; GPUs bring their own.
    devices = layout.processes if hardware.device == "cuda" else layout.nodes
    return 5 + slower * operations / (hardware.flops * devices)
