"""The report's tables on cleaning: what each rule removed and rewrote, with samples."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from framework.report.facts import Facts
from framework.report.tables import Cell, Table

_SAMPLES = 10
"""Samples that are shown of each step."""
_VERBS = {"removed_by": "removed", "rewritten_by": "rewritten"}


def counts(facts: Sequence[Facts]) -> Table:
    """Return how many rows of each split each rule removed or rewrote."""
    rows = [
        [
            Cell(label),
            Cell(split),
            Cell(rule),
            Cell(done),
            *(Cell(f"{number:,}") for number in (count, counted["before"], counted["rows"])),
        ]
        for label, summary, _ in _steps(facts)
        for split, counted in summary.items()
        for rule, done, count in _rules(counted)
    ]
    head = ["step", "split", "rule", "done", "rows", "rows before the step", "rows after"]
    note = "Test rows are never removed. Every removed row is in removed.jsonl of its step's artifact."
    return Table("Cleaning", head, rows, 4, note)


def samples(facts: Sequence[Facts]) -> Table:
    """Return up to ten rows of each step, of all its rules in turn."""
    rows = [
        [
            Cell(label),
            Cell(sample["rule"]),
            Cell(f"{sample['file']}:{sample['line']}"),
            Cell(sample["reason"]),
            Cell(sample.get("before", "(hidden)")),
            Cell(sample.get("after", "(removed)")),
        ]
        for label, _, by_rule in _steps(facts)
        for sample in _in_turn(by_rule)[:_SAMPLES]
    ]
    head = ["step", "rule", "row", "why", "before", "after"]
    return Table("Samples of cleaning", head, rows, len(head), "Texts are cut; the choice of rows is random.")


def _steps(facts: Sequence[Facts]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield label, counts and samples of each cleaning step, a shared one once."""
    seen = set()
    for recipe in facts:
        for step, summary, by_rule in recipe.cleaning:
            if step.key not in seen:
                seen.add(step.key)
                label = step.label if len(facts) == 1 else f"{recipe.label}: {step.label}"
                yield label, summary, by_rule


def _rules(counted: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    if not any(counted[key] for key in _VERBS):
        yield "—", "nothing", 0
    for key, done in _VERBS.items():
        for rule, count in counted[key].items():
            yield rule, done, count


def _in_turn(by_rule: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """Return the first sample of each rule, then the second of each, and so on."""
    return [sample for turn in zip_longest(*by_rule.values()) for sample in turn if sample is not None]
