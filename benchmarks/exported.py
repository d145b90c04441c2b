"""Exports relative to eager PyTorch: the quickstart's decoder in int4, the sentiment encoder in int8.

Both recipes are built unchanged, gates included. Engines are measured in turn by CPU seconds on one thread,
and the best of each counts. Takes at least ten minutes, and downloads the models once.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.process import build
from framework.build.engine import Classifies, Engine, Generates, Sampling, open_engine, require

_TURNS = 5
_PROMPT = [5 + index % 50 for index in range(64)]
_NEW_TOKENS = 48
_ROWS = [_PROMPT] * 16


def measure() -> Iterator[tuple[str, float, float | None]]:
    """Yield CPU seconds of each export relative to eager PyTorch, and its numeric difference."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for recipe, engine, label, work, bound in (
            ("quickstart", "genai", "int4", _decode, 1 / 6),
            ("sentiment", "onnxruntime", "int8", _classify, 1 / 2.5),
        ):
            own = folder / recipe
            own.mkdir()
            build(recipe, own)
            yield from measured(own, recipe, engine, label, work, bound)


def measured(
    folder: Path, recipe: str, engine: str, label: str, work: Callable[[Any], float], bound: float
) -> Iterator[tuple[str, float, float | None]]:
    """Yield the figures of *recipe*, built in *folder*; *work* is what each engine is timed on."""
    lock = folder / "environments" / "dev" / recipe / "release.lock"
    metrics = json.loads(lock.read_text(encoding="utf-8"))["metrics"]
    folders = _folders(folder)
    engines = {
        "tuned": open_engine("torch", folders["merge"], 1),
        "fp32": open_engine(engine, folders["export fp32"], 1),
        label: open_engine(engine, folders[f"compress {label}"], 1),
    }
    seconds = _compared(engines, work)
    yield f"{recipe}: fp32 / eager, CPU seconds", seconds["fp32"] / seconds["tuned"], None
    yield f"{recipe}: {label} / eager, CPU seconds", seconds[label] / seconds["tuned"], bound
    yield f"{recipe}: {label} / eager, bytes", _over(metrics, label, "size_bytes"), None
    yield f"{recipe}: fp32, largest difference of a logit", metrics["fp32.max_difference"], 1e-2
    yield f"{recipe}: {label}, places that differ from eager", 1 - metrics[f"{label}.agreement"], 0.1


def _folders(folder: Path) -> dict[str, Path]:
    """Return the artifact folder of each step built in *folder*, by its label."""
    records = (folder / ".gitune" / "store").glob("*/*/artifact.json")
    return {json.loads(file.read_text(encoding="utf-8"))["label"]: file.parent for file in records}


def _over(metrics: dict[str, float], label: str, metric: str) -> float:
    return metrics[f"{label}.{metric}"] / metrics[f"tuned.{metric}"]


def _compared(engines: dict[str, Engine], work: Callable[[Any], float]) -> dict[str, float]:
    """Return the minimum CPU seconds of each engine for *work*, over several turns after a warm-up."""
    least = dict.fromkeys(engines, float("inf"))
    for turn in range(_TURNS + 1):
        for name, engine in engines.items():
            seconds = work(engine)
            if turn:
                least[name] = min(least[name], seconds)
    return least


def _decode(engine: Engine) -> float:
    """Return the CPU seconds of all tokens after the first."""
    tokens = require(engine, Generates).generate(_PROMPT, _NEW_TOKENS, Sampling(past_end=True))
    next(tokens)
    started = time.process_time()
    for _ in tokens:
        continue
    return time.process_time() - started


def _classify(engine: Engine) -> float:
    """Return the CPU seconds of one batch."""
    classifier = require(engine, Classifies)
    started = time.process_time()
    classifier.classify(_ROWS)
    return time.process_time() - started
