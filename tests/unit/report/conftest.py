"""A store with a plan's artifacts, written without building, and the facts gathered from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework.build.stages.benchmark import BATCHES, Measure
from framework.build.stages.evaluate import METRIC_LOSS, Evaluate, metric_loss
from framework.build.stages.evaluate_phases import EvaluatePhases
from framework.build.stages.parity import CompareExports
from framework.build.task import open_task
from framework.core.filesystem import files_below, sha256_of
from framework.core.release import LOCK, Release
from framework.core.step import Step
from framework.core.store import RECORD, Store
from framework.plan.build import make_plan
from framework.report.facts import Facts
from framework.report.gather import gather

NASTY = '<script>alert(1)</script> | & "q" \' `x` [a](javascript:b)\nnext\x05'
"""Row content that must be escaped in a page."""
SIZE = {"base": 4e6, "tuned": 4e6, "fp32": 4e6, "int4": 1e6, "int8": 1e6}


@pytest.fixture
def nasty() -> str:
    """Row content that must be escaped."""
    return NASTY


def leave(step: Step, folder: Path, quality: dict[str, float]) -> None:
    """Write the files of *step*'s stage, with fixed numbers."""
    stage, metrics = step.stage, {}
    if isinstance(stage, Evaluate):
        name = stage.candidate
        measured = stage.evaluation.metrics(stage.model.task)
        if isinstance(stage, EvaluatePhases):
            measured = EvaluatePhases.metrics(stage.phases, measured)
        metrics = {f"{name}.{metric}": quality.get(name, 0.5) for metric in measured}
        metrics |= {f"{name}.{metric}": 1.0 for metric in measured if metric.endswith("stops")}
        if "tuned" in step.needs:
            metrics[f"{name}.{METRIC_LOSS}"] = metric_loss(
                open_task(stage.model.task),
                {metric: quality.get(name, 0.5) for metric in measured},
                {metric: quality.get("tuned", 0.5) for metric in measured},
            )
        example = {"prompt": f"asked {NASTY}", "expected": "yes", "answer": f"{name} says {NASTY}"}
        (folder / "examples.jsonl").write_text(json.dumps(example) + "\n")
    elif isinstance(stage, CompareExports):
        names = CompareExports.metrics(stage.task, stage.parity, stage.engine)
        values = {name: 0.001 if name.endswith("difference") else 0.995 for name in names}
        metrics = {f"{each}.{name}": value for each in stage.candidates for name, value in values.items()}
    elif isinstance(stage, Measure):
        for number, each in enumerate(stage.engines, 1):
            metrics |= {f"{each}.{name}": 10.0 * number for name in Measure.metrics(stage.task)}
            metrics[f"{each}.size_bytes"] = SIZE.get(each, 2e6)
        batch = {"size": 4, "per_second": 7, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3, "spread": 0.1}
        (folder / BATCHES).write_text(json.dumps({each: [batch] for each in stage.engines}))
    elif stage.name == "tune":
        log = [{"step": n, "loss": 4 / n, "learning_rate": 1e-3 / n} for n in range(1, 600)]
        log.insert(300, {"step": 300, "validation_loss": 0.5})
        (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    elif stage.name == "clean":
        counted = {"rows": 90, "before": 100, "removed_by": {"exact": 10}, "rewritten_by": {}, "rejected": 0}
        kept = {**counted, "rows": 8, "before": 8, "removed_by": {}}
        (folder / "summary.json").write_text(json.dumps({"train": counted, "test": kept}))
        sample = {"rule": "exact", "file": "train.jsonl", "line": 7, "reason": "the same", "before": NASTY}
        samples = {
            "exact": [{**sample, "line": line} for line in range(7, 17)],
            "other": [{**sample, "rule": "other"}],
        }
        (folder / "samples.json").write_text(json.dumps(samples))
    elif stage.name == "encode":
        counted = {"rows": 1234, "tokens": 56789, "rejected": 2, "longest": 9, "sha256": "5" * 64}
        (folder / "summary.json").write_text(json.dumps({"train": counted, "test": counted}))
    elif stage.name == "compress":
        (folder / "compression.json").write_text(json.dumps({"kept_in_float": ["<lm_head>"]}))
    elif stage.name == "publish":
        (folder / LOCK).write_text(release().text())
    if metrics:
        (folder / "metrics.json").write_text(json.dumps(metrics))


def release() -> Release:
    digest = f"sha256:{'0' * 64}"
    return Release(
        name="tiny",
        recipe="tiny",
        plan="0" * 64,
        model_uri="file://.gitune/models/0",
        digest=digest,
        engine="genai",
        task="causal-lm",
        base_model="<b>random</b>",
        base_model_license="Apache-2.0",
        data_digest=digest,
        chat_template_digest=None,
        metrics={},
        gates={},
        commit="c0ffee",
        overrides=("tuning.rank=4",),
        clean=False,
    )


def record(step: Step, folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "mtime_ns": path.stat().st_mtime_ns,
            "sha256": sha256_of(path),
        }
        for path in files_below(folder)
    }
    body: dict[str, Any] = {"key": step.key, "label": step.label, "identity": step.identity()}
    body |= {"seconds": 61.5, "cpu_seconds": 60.0, "peak_memory_bytes": 2**30, "files": files}
    (folder / RECORD).write_text(json.dumps(body))


@pytest.fixture
def facts(config: Callable[..., Any], tmp_path: Path) -> Callable[..., Facts]:
    """Return the facts of a recipe as if it were built: ``facts("+recipe=tiny", quality={"tuned": 0.7})``.

    *quality* is the value of every metric of evaluation of a candidate but stops; *without* are the labels
    of steps that are not built.
    """
    store = Store(tmp_path / "store")

    def read(
        *words: str,
        quality: dict[str, float] | None = None,
        without: tuple[str, ...] = (),
        label: str = "tiny",
    ) -> Facts:
        chosen = config(*words)
        plan = make_plan(chosen, "tiny")
        for step in plan.steps:
            folder = store.folder(step)
            if step.label in without or folder.exists():
                continue
            folder.mkdir(parents=True)
            leave(step, folder, quality or {})
            record(step, folder)
        return gather(chosen, "tiny", label, plan, store, "run +recipe=tiny")

    return read
