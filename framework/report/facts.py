"""What a report states about one recipe; the page and the Markdown are written from the same record.

Plain data. It does not know where the values come from; ``framework.report.gather`` reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from framework.build.stages.evaluate import METRIC_LOSS, main_metric
from framework.build.task import open_task
from framework.core.release import Release
from framework.core.step import Step


@dataclass(frozen=True)
class Candidate:
    """One measured model."""

    name: str
    """Its label, such as ``tuned``; qualified in a comparison where recipes share it."""
    made_by: str
    """The label of the step that made it."""
    key: str
    """The key of that step: equal keys are equal models."""
    metrics: Mapping[str, float]
    """Every measured value, by metric name."""


@dataclass(frozen=True)
class Verdict:
    """One bound of a gate and its outcome."""

    gate: str
    metric: str
    bound: str
    value: float | None
    """None if it was not measured."""
    passed: bool


@dataclass(frozen=True)
class Example:
    """One held-out row with every candidate's answer."""

    prompt: str
    expected: str
    answers: Sequence[tuple[str, str]]
    """Candidate and answer."""


@dataclass(frozen=True)
class Facts:
    """Everything a report states about one recipe."""

    name: str
    """The release's name."""
    recipe: str
    """The recipe, or ``(none)``."""
    label: str
    """Its name in a comparison: the recipe, or the overrides that set it apart."""
    shipped: str
    """The label of the released candidate."""
    task: str
    release: Release | None
    """None if a gate stopped the plan."""
    settings: Mapping[str, str]
    """The chosen options, by group."""
    rows: Sequence[tuple[Step, Mapping[str, Any]]]
    """Each data step with ``rows``, ``tokens``, ``rejected`` and ``sha256`` by split."""
    curves: Sequence[tuple[Step, Sequence[Mapping[str, float]]]]
    """Each training step with the entries of its log."""
    candidates: Sequence[Candidate]
    quality: Sequence[str]
    """The evaluation metrics, most important first."""
    examples: Sequence[Example]
    verdicts: Sequence[Verdict]
    phases: Sequence[str]
    """The names of the phases; empty if there is only one training."""
    batches: Mapping[str, Sequence[Mapping[str, float]]]
    """The measurements for each batch size, by candidate."""
    decisions: Sequence[tuple[str, str]]
    """Label of a step and the decisions it made (calibration rows, layers kept in float), one per line."""
    steps: Sequence[tuple[Step, Mapping[str, Any] | None]]
    """Each step of the plan and its record; None if it is not built."""
    price_per_hour: float
    prompt_tokens: int
    """Tokens of the row that classifiers are timed with."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    cleaning: Sequence[tuple[Step, Mapping[str, Any], Mapping[str, Any]]] = ()
    """Each cleaning step with its counts by split, and its samples by rule."""

    @property
    def lost(self) -> str:
        """The metric whose loss against the tuned model is shown; empty if no candidate has one."""
        tuned = next((each.metrics for each in self.candidates if each.name == "tuned"), {})
        measured = any(METRIC_LOSS in candidate.metrics for candidate in self.candidates)
        return main_metric(open_task(self.task), tuned) if measured and tuned else ""
