"""What the store knows of one recipe: read once, so that page and text say the same.

Candidates are found through the plan's own steps; nothing here knows which there may be.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.build.data.shards import read_summary
from framework.build.stages.benchmark import BATCHES, Measure
from framework.build.stages.evaluate import METRICS, Evaluate, read_metrics
from framework.build.stages.gate import Gate
from framework.build.stages.parity import CompareExports
from framework.config.schema import Config
from framework.core.errors import ReleaseError
from framework.core.release import LOCK, Release
from framework.core.step import Step
from framework.core.store import Store
from framework.plan.build import Plan
from framework.report.settings import settings

_LISTED = 256
"""Most values of one list that are shown."""


@dataclass(frozen=True)
class Candidate:
    """One model that was measured."""

    name: str
    """Its label, such as ``tuned``; in a report on several recipes with what tells it from others."""
    made_by: str
    """The label of the step that made it."""
    key: str
    """The key of that step: equal keys are equal models."""
    metrics: Mapping[str, float]
    """All that was measured of it, by the metric's name."""


@dataclass(frozen=True)
class Verdict:
    """One bound of a gate and how it went."""

    gate: str
    metric: str
    bound: str
    value: float | None
    """None where it was not measured."""
    passed: bool


@dataclass(frozen=True)
class Example:
    """One held-out row with what each candidate says to it."""

    prompt: str
    expected: str
    answers: Sequence[tuple[str, str]]
    """Candidate and answer."""


@dataclass(frozen=True)
class Facts:
    """All that a report says of one recipe."""

    name: str
    """The release's name."""
    recipe: str
    """The recipe, or ``(none)``."""
    label: str
    """What it is called among others: the recipe, or the overrides that tell it from them."""
    shipped: str
    """The label of the candidate that is released."""
    task: str
    release: Release | None
    """None where a gate stopped the plan before."""
    settings: Mapping[str, str]
    """What was chosen, by group."""
    rows: Sequence[tuple[Step, Mapping[str, Any]]]
    """Each ``encode`` step with, for each split, ``rows``, ``tokens``, ``rejected`` and ``sha256``."""
    curves: Sequence[tuple[Step, Sequence[Mapping[str, float]]]]
    """Each tune step with the entries of its log."""
    candidates: Sequence[Candidate]
    quality: Sequence[str]
    """The metrics that evaluation gives, the one that matters most first."""
    examples: Sequence[Example]
    verdicts: Sequence[Verdict]
    phases: Sequence[str]
    """The names of the phases, none where there is one training only."""
    batches: Mapping[str, Sequence[Mapping[str, float]]]
    """What was measured for each batch size, by candidate."""
    decisions: Sequence[tuple[str, str]]
    """What a step decided on its way (calibration rows, layers that stay in float), a line each."""
    steps: Sequence[tuple[Step, Mapping[str, Any] | None]]
    """Each step of the plan and its record; none where it was not built."""
    price_per_hour: float
    prompt_tokens: int
    """Of a row that a classifier was timed with."""
    libraries: Mapping[str, str] = field(default_factory=dict)


def gather(config: Config, recipe: str, label: str, plan: Plan, store: Store, build_it: str) -> Facts:
    """Read all that the store has of *plan*.

    Args:
        config: the whole config.
        recipe: the recipe's name.
        label: what it is called among others.
        plan: the steps of *config*.
        store: where their artifacts are.
        build_it: the command that builds what is missing.

    Raises:
        ReleaseError: something is not built, and no gate was the reason.
        StoreError: an artifact was altered.
    """
    records = {step.key: store.record(step) for step in plan.steps}
    folders = {step.key: store.folder(step) for step in plan.steps if records[step.key] is not None}
    metrics = _metrics(plan, folders)
    verdicts = _verdicts(plan, folders, metrics)
    absent = [step for step in plan.steps if step.key not in folders]
    if absent and all(verdict.passed for verdict in verdicts):
        more = f" and {len(absent) - 1} more steps are" if absent[1:] else " is"
        raise ReleaseError(f"report: '{absent[0].label}'{more} not built yet; build first: {build_it}")
    built = [step for step in plan.steps if step.key in folders]
    release = Release.read(folders[plan.last.key] / LOCK) if plan.last.key in folders else None
    return Facts(
        name=config.name,
        recipe=recipe,
        label=label,
        shipped=config.shipped,
        task=config.model.task,
        release=release,
        settings=settings(config),
        rows=[(step, read_summary(folders[step.key])) for step in _of(built, "encode")],
        curves=[
            (step, _lines(folders[step.key] / "log.jsonl"))
            for step in _of(built, "tune")
            if (folders[step.key] / "log.jsonl").is_file()
        ],
        candidates=_candidates(plan, metrics),
        quality=_quality(config),
        examples=_examples(built, folders),
        verdicts=verdicts,
        phases=tuple(config.phases),
        batches=_batches(built, folders),
        decisions=_decisions(built, folders),
        steps=[(step, records[step.key]) for step in plan.steps],
        price_per_hour=config.environment.hardware.price_per_hour,
        prompt_tokens=config.benchmark.prompt_tokens,
        libraries=_libraries(plan),
    )


def _of(steps: Sequence[Step], stage: str) -> list[Step]:
    return [step for step in steps if step.stage.name == stage]


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def _metrics(plan: Plan, folders: Mapping[str, Path]) -> dict[str, float]:
    """Return every flat metric of the artifacts that are there."""
    found: dict[str, float] = {}
    for step in plan.steps:
        folder = folders.get(step.key)
        if folder is not None and (folder / METRICS).is_file():
            found |= read_metrics(folder)
    return found


def _verdicts(plan: Plan, folders: Mapping[str, Path], metrics: Mapping[str, float]) -> list[Verdict]:
    """Judge each gate whose metrics are there, as the gate itself does; a gate that fails leaves nothing."""
    found = []
    for step in plan.steps:
        stage = step.stage
        if not isinstance(stage, Gate) or any(need.key not in folders for need in step.needs.values()):
            continue
        for name, bound in sorted(stage.bounds.items()):
            value = metrics.get(name)
            passed = value is not None and bound.admits(value)
            found.append(Verdict(step.label, name, str(bound), value, passed))
    return found


def _candidates(plan: Plan, metrics: Mapping[str, float]) -> list[Candidate]:
    """Return what was evaluated, compared or timed, in the order in which it was made."""
    folders: dict[str, Step] = {}
    for step in plan.steps:
        if isinstance(step.stage, Evaluate):
            folders[step.stage.candidate] = step.needs["candidate"]
        elif isinstance(step.stage, CompareExports):
            folders |= {name: step.needs[name] for name in step.stage.candidates}
        elif isinstance(step.stage, Measure):
            folders |= {name: step.needs[name] for name in step.stage.engines}
    order = {step.key: number for number, step in enumerate(plan.steps)}
    found = []
    for name, step in sorted(folders.items(), key=lambda item: order[item[1].key]):
        own = {
            flat.removeprefix(f"{name}."): value
            for flat, value in metrics.items()
            if flat.startswith(f"{name}.")
        }
        if own:
            found.append(Candidate(name, step.label, step.key, own))
    return found


def _quality(config: Config) -> list[str]:
    """Return what evaluation measures; what the recipe's own gates ask of comes first."""
    measured = config.evaluation.metrics(config.model.task)
    asked = [name.rpartition(".")[2] for name in config.gates]
    return sorted(measured, key=lambda name: asked.index(name) if name in asked else len(asked))


def _examples(built: Sequence[Step], folders: Mapping[str, Path]) -> list[Example]:
    """Return the held-out rows that several candidates have answered, each with all answers."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for step in built:
        if isinstance(step.stage, Evaluate):
            for line in _lines(folders[step.key] / "examples.jsonl"):
                prompt, expected, answer = (
                    _printable(line[part]) for part in ("prompt", "expected", "answer")
                )
                found.setdefault((prompt, expected), []).append((step.stage.candidate, answer))
    return [Example(prompt, expected, answers) for (prompt, expected), answers in found.items()]


def _printable(text: str) -> str:
    """Return *text* without control characters, which no page may hold and an untrained model may write."""
    return "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) != "Cc")


def _batches(built: Sequence[Step], folders: Mapping[str, Path]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in _of(built, "benchmark"):
        found |= json.loads((folders[step.key] / BATCHES).read_text(encoding="utf-8"))
    return found


def _decisions(built: Sequence[Step], folders: Mapping[str, Path]) -> list[tuple[str, str]]:
    files = ((step.label, folders[step.key] / "compression.json") for step in built)
    return [
        (label, "\n".join(_told(json.loads(file.read_text(encoding="utf-8")))))
        for label, file in files
        if file.is_file()
    ]


def _told(value: Any, name: str = "") -> Iterator[str]:
    """Yield a line for each leaf of JSON data; a list of plain values is one leaf."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _told(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        shown = ", ".join(json.dumps(item, ensure_ascii=False).strip('"') for item in value[:_LISTED])
        more = f", … ({len(value)} in all)" if len(value) > _LISTED else ""
        yield f"{name}: {_printable(shown)}{more}"
    else:
        yield f"{name}: {_printable(str(value))}"


def _libraries(plan: Plan) -> dict[str, str]:
    """Return the versions of the libraries that shaped the artifacts."""
    found: dict[str, str] = {}
    for step in plan.steps:
        found |= step.identity()["libraries"]
    return dict(sorted(found.items()))
