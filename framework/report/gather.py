"""Read a recipe's facts from the store's finished artifacts.

It iterates over the plan's steps and uses what each stage declares and writes. It lists no stage classes.
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from framework.build.clean.removals import SAMPLES
from framework.build.data.shards import SUMMARY, read_summary
from framework.build.stages.benchmark import BATCHES
from framework.build.stages.evaluate import EXAMPLES, METRICS, read_metrics
from framework.config.schema import Config
from framework.core.errors import ReleaseError
from framework.core.release import LOCK, Release
from framework.core.step import Step
from framework.core.store import Store
from framework.plan.build import Plan
from framework.report.facts import Candidate, Example, Facts, Verdict
from framework.report.settings import settings

_LOG = "log.jsonl"
_DECISIONS = "compression.json"
_LISTED = 256
"""How many values of one list are shown."""


def gather(config: Config, recipe: str, label: str, plan: Plan, store: Store, build_it: str) -> Facts:
    """Read what the store holds of *plan*.

    Args:
        config: the whole config.
        recipe: the recipe's name.
        label: its name in a comparison.
        plan: the steps of *config*.
        store: where their artifacts are.
        build_it: the command that builds what is missing.

    Raises:
        ReleaseError: a step is not built although no gate stopped the plan.
        StoreError: an artifact was altered.
    """
    artifacts = _Artifacts.read(plan, store)
    verdicts = artifacts.verdicts()
    absent = [step for step in plan.steps if step.key not in artifacts.folders]
    if absent and all(verdict.passed for verdict in verdicts):
        more = f" and {len(absent) - 1} more steps are" if absent[1:] else " is"
        raise ReleaseError(f"report: '{absent[0].label}'{more} not built yet; build first: {build_it}")
    return Facts(
        name=config.name,
        recipe=recipe,
        label=label,
        shipped=config.shipped,
        task=config.model.task,
        release=artifacts.release(),
        settings=settings(config),
        rows=artifacts.rows(),
        curves=[(step, _json_lines(folder / _LOG)) for step, folder in artifacts.with_file(_LOG)],
        candidates=artifacts.candidates(),
        quality=_quality(config),
        examples=artifacts.examples(),
        verdicts=verdicts,
        phases=tuple(config.phases),
        batches=artifacts.batches(),
        decisions=artifacts.decisions(),
        steps=[(step, artifacts.records[step.key]) for step in plan.steps],
        price_per_hour=config.environment.hardware.price_per_hour,
        prompt_tokens=config.benchmark.prompt_tokens,
        libraries=_libraries(plan),
        cleaning=artifacts.cleaning(),
    )


@dataclass(frozen=True)
class _Artifacts:
    """The finished artifacts of one plan."""

    plan: Plan
    records: Mapping[str, Mapping[str, Any] | None]
    """Each step's record, by its key; None if it is not built."""
    folders: Mapping[str, Path]
    """The folder of each finished step, by its key."""

    @classmethod
    def read(cls, plan: Plan, store: Store) -> "_Artifacts":
        """Look up every step of *plan*.

        Raises:
            StoreError: an artifact was altered.
        """
        records = {step.key: store.record(step) for step in plan.steps}
        folders = {step.key: store.folder(step) for step in plan.steps if records[step.key] is not None}
        return cls(plan, records, folders)

    def with_file(self, name: str) -> list[tuple[Step, Path]]:
        """Return the finished steps that wrote the file *name*, with their folders, in plan order."""
        finished = [step for step in self.plan.steps if step.key in self.folders]
        pairs = [(step, self.folders[step.key]) for step in finished]
        return [(step, folder) for step, folder in pairs if (folder / name).is_file()]

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every measured value, by flat name."""
        metrics: dict[str, float] = {}
        for _, folder in self.with_file(METRICS):
            metrics |= read_metrics(folder)
        return metrics

    def release(self) -> Release | None:
        """Return the plan's release; None if the plan did not get that far."""
        folder = self.folders.get(self.plan.last.key)
        return Release.read(folder / LOCK) if folder else None

    def verdicts(self) -> list[Verdict]:
        """Judge the bounds of every step whose inputs are built, as the step does.

        A gate that fails leaves no artifact, so its files cannot be read.
        """
        verdicts = []
        for step in self.plan.steps:
            if any(need.key not in self.folders for need in step.needs.values()):
                continue
            for name, bound in sorted(step.stage.gates(self.metrics).items()):
                value = self.metrics.get(name)
                passed = value is not None and bound.admits(value)
                verdicts.append(Verdict(step.label, name, str(bound), value, passed))
        return verdicts

    def rows(self) -> list[tuple[Step, dict[str, Any]]]:
        """Return each step that counted tokens, with its counts and the digest of its rows, by split."""
        counted = []
        for step, folder in self.with_file(SUMMARY):
            summary = read_summary(folder)
            if all("tokens" in counts for counts in summary.values()):
                counted.append((step, summary))
        return counted

    def cleaning(self) -> list[tuple[Step, dict[str, Any], dict[str, Any]]]:
        """Return each cleaning step with its counts by split, and its samples by rule."""
        return [
            (step, read_summary(folder), _printable_leaves(json.loads((folder / SAMPLES).read_text("utf-8"))))
            for step, folder in self.with_file(SAMPLES)
        ]

    def candidates(self) -> list[Candidate]:
        """Return the measured candidates in the order in which they were made."""
        made_by: dict[str, Step] = {}
        for step in self.plan.steps:
            made_by |= {name: step.needs[slot] for name, slot in step.stage.measures().items()}
        order = {step.key: number for number, step in enumerate(self.plan.steps)}
        candidates = []
        for name, step in sorted(made_by.items(), key=lambda item: order[item[1].key]):
            prefix = f"{name}."
            metrics = {
                flat.removeprefix(prefix): value
                for flat, value in self.metrics.items()
                if flat.startswith(prefix)
            }
            if metrics:
                candidates.append(Candidate(name, step.label, step.key, metrics))
        return candidates

    def examples(self) -> list[Example]:
        """Return the held-out rows that candidates answered, each once with all answers."""
        answers: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for step, folder in self.with_file(EXAMPLES):
            for line in _json_lines(folder / EXAMPLES):
                prompt, expected, answer = (_printable(line[key]) for key in ("prompt", "expected", "answer"))
                row = answers.setdefault((prompt, expected), [])
                row += [(candidate, answer) for candidate in step.stage.measures()]
        return [Example(prompt, expected, given) for (prompt, expected), given in answers.items()]

    def batches(self) -> dict[str, Any]:
        """Return the measurements for each batch size, by candidate."""
        batches: dict[str, Any] = {}
        for _, folder in self.with_file(BATCHES):
            batches |= json.loads((folder / BATCHES).read_text(encoding="utf-8"))
        return batches

    def decisions(self) -> list[tuple[str, str]]:
        """Return the decisions of each compression as text."""
        return [
            (step.label, "\n".join(_leaves(json.loads((folder / _DECISIONS).read_text(encoding="utf-8")))))
            for step, folder in self.with_file(_DECISIONS)
        ]


def _json_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]


def _quality(config: Config) -> list[str]:
    """Return the evaluation metrics; those that the recipe's own gates bound come first."""
    measured = config.evaluation.metrics(config.model.task)
    gated = [name.rpartition(".")[2] for name in config.gates]
    return sorted(measured, key=lambda name: gated.index(name) if name in gated else len(gated))


def _printable(text: str) -> str:
    """Return *text* without control characters, which a model may write and HTML must not contain."""
    return "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) != "Cc")


def _printable_leaves(value: Any) -> Any:
    """Return JSON data with every text passed through ``_printable``."""
    if isinstance(value, dict):
        return {key: _printable_leaves(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable_leaves(item) for item in value]
    return _printable(value) if isinstance(value, str) else value


def _leaves(value: Any, name: str = "") -> Iterator[str]:
    """Yield one line for each leaf of JSON data; a list counts as one leaf."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        shown = ", ".join(json.dumps(item, ensure_ascii=False).strip('"') for item in value[:_LISTED])
        more = f", … ({len(value)} in total)" if len(value) > _LISTED else ""
        yield f"{name}: {_printable(shown)}{more}"
    else:
        yield f"{name}: {_printable(str(value))}"


def _libraries(plan: Plan) -> dict[str, str]:
    """Return the versions of the libraries that enter the steps' keys."""
    versions: dict[str, str] = {}
    for step in plan.steps:
        versions |= step.identity()["libraries"]
    return dict(sorted(versions.items()))
