"""The report's tables, shared by the page and the Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from framework.build.stages.evaluate import METRIC_LOSS
from framework.report.facts import Candidate, Facts
from framework.report.numbers import (
    cost_per_million_tokens,
    figure,
    formatted,
    less_is_better,
    size,
    title,
)

_PARITY = (
    *("max_difference", "mean_difference", "agreement", "generation_agreement", "batched_agreement"),
    *("batched_exact_match", "batched_metric_loss"),
)
_SPEED = (
    *("size_bytes", "peak_memory_bytes", "load_seconds", "first_token_ms", "prefill_tokens_per_second"),
    *("decode_tokens_per_second", "decode_p50_ms", "decode_p90_ms", "decode_p99_ms", "decode_spread"),
    *("rows_per_second", "batch_p50_ms", "batch_p90_ms", "batch_p99_ms", "batch_spread"),
    *("best_batch_size", "best_tokens_per_second", "best_rows_per_second", "cost_per_million_tokens"),
)
Value = TypeVar("Value")

_UNJUDGED = ("best_batch_size", "decode_spread", "batch_spread")


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    kind: str = ""
    """The page's class: ``best`` (of its column), ``passed`` or ``failed``."""


@dataclass(frozen=True)
class Table:
    """A table with a heading per column; the first cells of a row identify it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    """How many leading columns are text."""
    note: str = ""


@dataclass(frozen=True)
class Pool:
    """The distinct candidates of all recipes."""

    candidates: Sequence[Candidate]
    series: Sequence[int]
    """The number of each candidate's recipe."""


def pool(facts: Sequence[Facts]) -> Pool:
    """Return every candidate once; an ambiguous name is prefixed with the recipe's label."""
    keys: dict[str, set[str]] = {}
    for recipe in facts:
        for candidate in recipe.candidates:
            keys.setdefault(candidate.name, set()).add(candidate.key)
    distinct: dict[tuple[str, str], tuple[Candidate, int]] = {}
    for number, recipe in enumerate(facts):
        for candidate in recipe.candidates:
            identity = (candidate.key, candidate.name)
            ambiguous = len(keys[candidate.name]) > 1
            name = f"{recipe.label}: {candidate.name}" if ambiguous else candidate.name
            metrics = {**candidate.metrics, **_cost(recipe, candidate)}
            if identity in distinct:  # another recipe may have measured more of the same model
                first, first_number = distinct[identity]
                merged = Candidate(first.name, first.made_by, first.key, {**metrics, **first.metrics})
                distinct[identity] = merged, first_number
            else:
                distinct[identity] = Candidate(name, candidate.made_by, candidate.key, metrics), number
    pairs = list(distinct.values())
    return Pool([candidate for candidate, _ in pairs], [number for _, number in pairs])


def _cost(facts: Facts, candidate: Candidate) -> dict[str, float]:
    """Return the cost per million tokens: generated one by one, or classified in the largest batch."""
    decoded = candidate.metrics.get("decode_tokens_per_second")
    read = facts.prompt_tokens * candidate.metrics.get("rows_per_second", 0.0)
    rate = decoded or read
    if not rate or not facts.price_per_hour:
        return {}
    return {"cost_per_million_tokens": cost_per_million_tokens(facts.price_per_hour, rate)}


def quality_metrics(facts: Sequence[Facts]) -> list[str]:
    """Return the evaluation metrics of all recipes, most important first."""
    return list(dict.fromkeys(name for recipe in facts for name in recipe.quality))


def speed_metric(pooled: Pool) -> str:
    """Return the speed metric that candidates are compared by."""
    tokens = any("decode_tokens_per_second" in candidate.metrics for candidate in pooled.candidates)
    return "decode_tokens_per_second" if tokens else "rows_per_second"


def candidate_tables(facts: Sequence[Facts], pooled: Pool) -> list[Table]:
    """Return the tables of quality, of speed and size, and of parity for all candidates."""
    shipped = {
        candidate.key
        for recipe in facts
        for candidate in recipe.candidates
        if recipe.release is not None and candidate.name == recipe.shipped
    }
    contents = [
        (
            "Quality on the held-out rows",
            [*quality_metrics(facts), METRIC_LOSS],
            f"The best value of each column is bold. {_loss_note(facts)}".strip(),
        ),
        (
            "Speed and size",
            _SPEED,
            "Each candidate was timed in its own process. Spread: interquartile range divided by the median. "
            "Load: from the start of the process until the model answers.",
        ),
        (
            "Parity with PyTorch",
            _parity(facts, pooled),
            "How much each export differs from the PyTorch model that it was exported from. Same argmax: the "
            "share of held-out positions with the same prediction.",
        ),
    ]
    tables = [_by_candidate(*content, pooled, shipped, not number) for number, content in enumerate(contents)]
    return [table for table in tables if table.rows]


def _loss_note(facts: Sequence[Facts]) -> str:
    lost = " or ".join(dict.fromkeys(title(recipe.lost) for recipe in facts if recipe.lost))
    return lost and f"The loss is of {lost}, relative to tuned: 60% instead of 80% is a loss of 25%."


def _parity(facts: Sequence[Facts], pooled: Pool) -> list[str]:
    """Return the parity metrics, and all metrics that are neither quality nor speed."""
    phases = tuple(f"{phase}_" for recipe in facts for phase in recipe.phases)
    known = {*quality_metrics(facts), METRIC_LOSS, *_SPEED, *_PARITY}
    every = {name for candidate in pooled.candidates for name in candidate.metrics}
    return [*_PARITY, *sorted(name for name in every - known if not name.startswith(phases))]


def _by_candidate(
    caption: str, metrics: Sequence[str], note: str, pooled: Pool, shipped: set[str], every: bool
) -> Table:
    """Return a table of *metrics* with a row for *every* candidate, or for those that have one of them."""
    kept = [name for name in metrics if any(name in candidate.metrics for candidate in pooled.candidates)]
    rows = []
    for number, candidate in enumerate(pooled.candidates, 1):
        if every or any(name in candidate.metrics for name in kept):
            name = candidate.name + (" (released)" if candidate.key in shipped else "")
            cells = [_cell(metric, candidate, pooled.candidates) for metric in kept]
            made_by = [Cell(candidate.made_by)] if every else []
            rows.append([Cell(name), Cell(str(number)), *cells, *made_by])
    head = ["candidate", "no.", *map(title, kept), *(["made by"] if every else [])]
    return Table(caption, head, rows if kept else [], 1, note)


def _cell(metric: str, candidate: Candidate, candidates: Sequence[Candidate]) -> Cell:
    if metric not in candidate.metrics:
        return Cell("—")
    value = candidate.metrics[metric]
    every = [other.metrics[metric] for other in candidates if metric in other.metrics]
    best = min(every) if less_is_better(metric) else max(every)
    judged = metric not in _UNJUDGED and not metric.endswith("_share")
    marked = judged and value == best and len(set(every)) > 1
    return Cell(formatted(metric, value), "best" if marked else "")


def gates(facts: Sequence[Facts]) -> Table:
    """Return every bound with its value and verdict."""
    rows = [
        [
            *_label_cells(facts, recipe),
            Cell(verdict.metric),
            Cell("passed", "passed") if verdict.passed else Cell("FAILED", "failed"),
            Cell("not measured" if verdict.value is None else f"{verdict.value:g}"),
            Cell(verdict.bound),
            Cell(verdict.gate.removeprefix("gate ")),
        ]
        for recipe in facts
        for verdict in recipe.verdicts
    ]
    names = ["recipe"] if len(facts) > 1 else []
    return Table("Gates", [*names, "metric", "verdict", "value", "bound", "gate"], rows, 2 + len(names))


def _label_cells(facts: Sequence[Facts], recipe: Facts) -> list[Cell]:
    return [Cell(recipe.label)] if len(facts) > 1 else []


def forgetting(facts: Facts) -> list[Table]:
    """Return one table per metric: a row for each candidate, a column for each phase's test rows."""
    if not facts.phases:
        return []
    *_, last = facts.phases
    tables = []
    for metric in facts.quality:
        names = [metric if phase == last else f"{phase}_{metric}" for phase in facts.phases]
        rows = []
        for candidate in facts.candidates:
            if all(name in candidate.metrics for name in names):
                trained = last if candidate.name == "tuned" else candidate.name
                cells = [
                    Cell(formatted(metric, candidate.metrics[name]), "best" if phase == trained else "")
                    for phase, name in zip(facts.phases, names, strict=True)
                ]
                rows.append([Cell(candidate.name), *cells])
        if rows:
            note = "Each column shows how a skill changes; bold is right after its own training."
            head = ["candidate", *(f"on {phase}" for phase in facts.phases)]
            tables.append(Table(f"Forgetting: {title(metric)}", head, rows, 1, note))
    return tables


def batches(facts: Facts) -> Table:
    """Return the measurements for each batch size."""
    rows = [
        [
            Cell(candidate),
            Cell(figure(batch["size"])),
            Cell(figure(batch["per_second"])),
            *(Cell(formatted(name, batch[name])) for name in ("p50_ms", "p90_ms", "p99_ms", "spread")),
        ]
        for candidate in (measured.name for measured in facts.candidates)
        for batch in facts.batches.get(candidate, ())
    ]
    classifies = any("rows_per_second" in candidate.metrics for candidate in facts.candidates)
    head = ["candidate", "batch size", "rows/s" if classifies else "tokens/s", "p50", "p90", "p99", "spread"]
    note = "Latency of a classifier's call, or between two generated tokens."
    return Table("Batch sizes", head, rows, 1, note)


def data(facts: Sequence[Facts]) -> Table:
    """Return the rows that were used, with the digest of their canonical text."""
    rows = [
        [
            Cell(step.label),
            Cell(split),
            *(Cell(f"{counted[split][name]:,}") for name in ("rows", "tokens", "rejected")),
            Cell(f"sha256:{counted[split]['sha256'][:16]}"),
        ]
        for step, counted in _once(
            (step.key, (step, counted)) for recipe in facts for step, counted in recipe.rows
        )
        for split in counted
    ]
    head = ["step", "split", "rows", "tokens", "rejected", "row digest"]
    return Table("Data", head, rows, 2, " ".join(dict.fromkeys(_doubts(facts))))


def _doubts(facts: Sequence[Facts]) -> Iterator[str]:
    """Yield what limits the meaning of metrics: test rows that were learned, classes that were not."""
    for step, counted in (pair for recipe in facts for pair in recipe.rows):
        if shared := counted["test"].get("in_train"):
            yield f"{step.label}: {shared} test rows are also training rows."
        learned = counted["train"].get("labels", {})
        if unlearned := [name for name, rows in learned.items() if not rows]:
            yield f"{step.label}: no training row has {', '.join(unlearned)}."


def _once(pairs: Iterable[tuple[str, Value]]) -> list[Value]:
    """Return the first value of each key."""
    first: dict[str, Value] = {}
    for key, value in pairs:
        first.setdefault(key, value)
    return list(first.values())


def settings(facts: Sequence[Facts]) -> Table:
    """Return the chosen options; for several recipes, only those that differ."""
    groups = list(dict.fromkeys(group for recipe in facts for group in recipe.settings))
    rows = []
    for group in groups:
        values = [recipe.settings.get(group, "—") for recipe in facts]
        if len(facts) == 1 or len(set(values)) > 1:
            rows.append([Cell(group), *map(Cell, values)])
    if len(facts) == 1:
        return Table("Settings", ["group", "chosen"], rows, 2, "Values that are not listed are defaults.")
    return Table("Differences between the recipes", ["group", *(recipe.label for recipe in facts)], rows, 99)


def steps(facts: Facts) -> Table:
    """Return the steps with their time, memory and key, in order."""
    rows = []
    for step, record in facts.steps:
        took = [Cell("not built"), Cell("—")]
        if record:
            took = [Cell(f"{figure(record['seconds'])} s"), Cell(size(record["peak_memory_bytes"]))]
        rows.append([Cell(step.label), *took, Cell(step.key[:12])])
    return Table("Steps", ["step", "time", "peak memory", "key"], rows)
