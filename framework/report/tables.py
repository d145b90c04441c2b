"""The report's tables, from facts: the page and the text show the same ones."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from framework.build.stages.evaluate import METRIC_LOSS
from framework.report.facts import Candidate, Facts
from framework.report.numbers import (
    cost_per_million_tokens,
    figure,
    less_is_better,
    size,
    title,
    written,
)

_PARITY = ("max_difference", "mean_difference", "agreement", "generation_agreement")
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
    """What stands in one place of a table."""

    text: str
    kind: str = ""
    """``best`` of its column, ``passed`` or ``failed``; the page's classes."""


@dataclass(frozen=True)
class Table:
    """A table with a heading for each column; the first cells of a row name it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    """How many of the first cells are words."""
    note: str = ""


@dataclass(frozen=True)
class Pool:
    """The candidates of all recipes, each once."""

    candidates: Sequence[Candidate]
    series: Sequence[int]
    """The number of the recipe that each is of."""


def pool(facts: Sequence[Facts]) -> Pool:
    """Return every candidate once; where others bear its name, it says which recipe it is of."""
    bearers: dict[str, set[str]] = {}
    for each in facts:
        for candidate in each.candidates:
            bearers.setdefault(candidate.name, set()).add(candidate.key)
    found: dict[tuple[str, str], tuple[Candidate, int]] = {}
    for number, each in enumerate(facts):
        for candidate in each.candidates:
            identity = (candidate.key, candidate.name)
            ambiguous = len(bearers[candidate.name]) > 1
            name = f"{each.label}: {candidate.name}" if ambiguous else candidate.name
            metrics = {**candidate.metrics, **_cost(each, candidate)}
            if identity in found:  # another recipe may have measured more of the same model
                known, number_before = found[identity]
                merged = Candidate(known.name, known.made_by, known.key, {**metrics, **known.metrics})
                found[identity] = merged, number_before
            else:
                found[identity] = Candidate(name, candidate.made_by, candidate.key, metrics), number
    pairs = list(found.values())
    return Pool([candidate for candidate, _ in pairs], [number for _, number in pairs])


def _cost(facts: Facts, candidate: Candidate) -> dict[str, float]:
    """Return what a million tokens cost, generated one by one or read in the largest batch."""
    decoded = candidate.metrics.get("decode_tokens_per_second")
    read = facts.prompt_tokens * candidate.metrics.get("rows_per_second", 0.0)
    rate = decoded or read
    if not rate or not facts.price_per_hour:
        return {}
    return {"cost_per_million_tokens": cost_per_million_tokens(facts.price_per_hour, rate)}


def quality_metrics(facts: Sequence[Facts]) -> list[str]:
    """Return the metrics of evaluation, those that matter most first."""
    return list(dict.fromkeys(name for each in facts for name in each.quality))


def speed_metric(pooled: Pool) -> str:
    """Return the one speed that candidates are compared by."""
    tokens = any("decode_tokens_per_second" in candidate.metrics for candidate in pooled.candidates)
    return "decode_tokens_per_second" if tokens else "rows_per_second"


def candidate_tables(facts: Sequence[Facts], pooled: Pool) -> list[Table]:
    """Return quality, speed with size, and parity of all candidates."""
    shipped = {
        candidate.key for each in facts for candidate in each.candidates if candidate.name == each.shipped
    }
    every = [
        (
            "Quality on the held-out rows",
            [*quality_metrics(facts), METRIC_LOSS],
            "The best of each column is set in bold.",
        ),
        (
            "Speed and size",
            _SPEED,
            "Each candidate was timed in a process of its own. Spread is the interquartile range over the "
            "median; load is from a fresh process to a model that answers.",
        ),
        (
            "Parity with PyTorch",
            _parity(facts, pooled),
            "How far each export is from the PyTorch model that it was made of. Same arg-max: the share of "
            "held-out places where both choose alike.",
        ),
    ]
    found = [_by_candidate(*each, pooled, shipped, not number) for number, each in enumerate(every)]
    return [table for table in found if table.rows]


def _parity(facts: Sequence[Facts], pooled: Pool) -> list[str]:
    """Return what comparing gives, and all that is neither quality nor speed."""
    phases = tuple(f"{phase}_" for each in facts for phase in each.phases)
    known = {*quality_metrics(facts), METRIC_LOSS, *_SPEED, *_PARITY}
    every = {name for candidate in pooled.candidates for name in candidate.metrics}
    return [*_PARITY, *sorted(name for name in every - known if not name.startswith(phases))]


def _by_candidate(
    caption: str, metrics: Sequence[str], note: str, pooled: Pool, shipped: set[str], every: bool
) -> Table:
    """Return a table of *metrics*, in which *every* candidate has a row, or those that have one of them."""
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
    return Cell(written(metric, value), "best" if marked else "")


def gates(facts: Sequence[Facts]) -> Table:
    """Return every bound with its value and verdict."""
    rows = [
        [
            *_labelled(facts, each),
            Cell(verdict.metric),
            Cell("passed", "passed") if verdict.passed else Cell("FAILED", "failed"),
            Cell("not measured" if verdict.value is None else f"{verdict.value:g}"),
            Cell(verdict.bound),
            Cell(verdict.gate.removeprefix("gate ")),
        ]
        for each in facts
        for verdict in each.verdicts
    ]
    names = ["recipe"] if len(facts) > 1 else []
    return Table("Gates", [*names, "metric", "verdict", "value", "bound", "gate"], rows, 2 + len(names))


def _labelled(facts: Sequence[Facts], each: Facts) -> list[Cell]:
    return [Cell(each.label)] if len(facts) > 1 else []


def forgetting(facts: Facts) -> list[Table]:
    """Return for each metric a table of candidates down and the phases' test rows across."""
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
                    Cell(written(metric, candidate.metrics[name]), "best" if phase == trained else "")
                    for phase, name in zip(facts.phases, names, strict=True)
                ]
                rows.append([Cell(candidate.name), *cells])
        if rows:
            note = "Down a column one reads what became of a skill; bold is right after its training."
            head = ["candidate", *(f"on {phase}" for phase in facts.phases)]
            tables.append(Table(f"Forgetting: {title(metric)}", head, rows, 1, note))
    return tables


def batches(facts: Facts) -> Table:
    """Return what was measured for each batch size."""
    rows = [
        [
            Cell(candidate),
            Cell(figure(batch["size"])),
            Cell(figure(batch["per_second"])),
            *(Cell(written(name, batch[name])) for name in ("p50_ms", "p90_ms", "p99_ms", "spread")),
        ]
        for candidate in (each.name for each in facts.candidates)
        for batch in facts.batches.get(candidate, ())
    ]
    unit = "rows/s" if any("rows_per_second" in each.metrics for each in facts.candidates) else "tokens/s"
    head = ["candidate", "batch size", unit, "p50", "p90", "p99", "spread"]
    return Table("Batch sizes", head, rows, 1, "Of a classifier's call, or between two tokens of an answer.")


def data(facts: Sequence[Facts]) -> Table:
    """Return what rows were used, by the digest of their canonical text."""
    rows = [
        [
            Cell(step.label),
            Cell(split),
            *(Cell(f"{counted[split][name]:,}") for name in ("rows", "tokens", "rejected")),
            Cell(f"sha256:{counted[split]['sha256'][:16]}"),
        ]
        for step, counted in _once(
            (step.key, (step, counted)) for each in facts for step, counted in each.rows
        )
        for split in counted
    ]
    return Table("Data", ["step", "split", "rows", "tokens", "rejected", "digest of the rows"], rows, 2)


def _once(pairs: Iterable[tuple[str, Value]]) -> list[Value]:
    """Return the value of each key where it comes first."""
    found: dict[str, Value] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return list(found.values())


def chosen(facts: Sequence[Facts]) -> Table:
    """Return what was chosen; of several recipes only what they do not share."""
    groups = list(dict.fromkeys(group for each in facts for group in each.settings))
    rows = []
    for group in groups:
        values = [each.settings.get(group, "—") for each in facts]
        if len(facts) == 1 or len(set(values)) > 1:
            rows.append([Cell(group), *map(Cell, values)])
    if len(facts) == 1:
        return Table("Settings", ["group", "chosen"], rows, 2, "Where nothing is said, it is the default.")
    return Table("What the recipes do differently", ["group", *(each.label for each in facts)], rows, 99)


def steps(facts: Facts) -> Table:
    """Return what ran, in its order."""
    rows = []
    for step, record in facts.steps:
        took = [Cell("not built"), Cell("—")]
        if record:
            took = [Cell(f"{figure(record['seconds'])} s"), Cell(size(record["peak_memory_bytes"]))]
        rows.append([Cell(step.label), *took, Cell(step.key[:12])])
    return Table("Steps", ["step", "time", "peak memory", "key"], rows)
