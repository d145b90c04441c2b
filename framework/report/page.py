"""The report as one HTML page that needs nothing else: no network, no script, no font.

Jinja escapes whatever comes from data; drawings escape their own texts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from framework.report import charts, tables
from framework.report import narrative as story
from framework.report.facts import Facts
from framework.report.tables import Cell, Table

_SHORT = 40
"""Longest answer, in letters, that has its place in a table."""


@dataclass(frozen=True)
class Figure:
    """A drawing with what stands below it."""

    drawing: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    identity: str
    title: str
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    answered: Sequence[story.Answered] = ()
    listings: Sequence[tuple[str, str]] = ()


def page(facts: Sequence[Facts]) -> str:
    """Return the page on one recipe, or on several in comparison."""
    from jinja2 import Environment
    from markupsafe import Markup

    here = files("framework.report")
    # Autoescape for every template, whatever it is called.
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["drawn"] = Markup
    environment.globals["mark"] = lambda number: Markup(charts.mark(number))
    template = environment.from_string((here / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=story.heading(facts),
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        facts=facts,
        outcome=story.outcome,
        origin=story.origin,
        sections=[section for section in _sections(facts) if _has_something(section)],
    )


def _has_something(section: Section) -> bool:
    return bool(
        any(table.rows for table in section.tables) or section.figures or section.answered or section.listings
    )


def _sections(facts: Sequence[Facts]) -> list[Section]:
    pooled = tables.pool(facts)
    several = len(facts) > 1
    ahead = [tables.chosen(facts)] if several else []
    late = [] if several else [tables.chosen(facts)]
    gates = tables.gates(facts)
    judged = Section("gates", "Gates", [gates])
    measured = Section(
        "candidates", "Candidates", tables.candidate_tables(facts, pooled), _trade_offs(facts, pooled)
    )
    return [
        Section("differences", "What differs", ahead),
        *([measured, judged] if several else [judged, measured]),
        _examples(story.examples(facts, pooled)),
        Section("forgetting", "Forgetting", [table for each in facts for table in _told(each, facts)]),
        Section("training", "Training", figures=list(_curves(facts))),
        Section("batches", "Batch sizes", [_of(each, tables.batches(each), facts) for each in facts]),
        Section("decisions", "What compression decided", listings=_decisions(facts)),
        Section("data", "Data", [tables.data(facts)]),
        Section("settings", "Settings", late),
        Section("steps", "Steps", [_of(each, tables.steps(each), facts) for each in facts]),
        Section("libraries", "Libraries", listings=_libraries(facts)),
    ]


def _examples(answered: Sequence[story.Answered]) -> Section:
    """Return answers side by side: in a table where all are short, such as a classifier's."""
    short = all(
        max(len(one.expected), *(len(answer) for _, answer, _ in one.answers)) <= _SHORT for one in answered
    )
    if not (short and answered):
        return Section("examples", "Before and after", answered=answered)
    names = list(dict.fromkeys(name for one in answered for name, _, _ in one.answers))
    rows = []
    for one in answered:
        given = {name: Cell(answer or "(nothing)", "passed" * right) for name, answer, right in one.answers}
        said = [given.get(name, Cell("—")) for name in names]
        rows.append([Cell(" ".join(one.prompt.split())), Cell(one.expected), *said])
    head = ["asked", "wanted", *names]
    note = "Coloured and set in bold: as wanted."
    table = Table("Before and after", head, rows, len(head), note)
    return Section("examples", "Before and after", [table])


def _of(each: Facts, table: Table, facts: Sequence[Facts]) -> Table:
    """Return *table* with the recipe's name, where there are several."""
    if len(facts) == 1:
        return table
    return Table(f"{each.label}: {table.caption}", table.head, table.rows, table.names, table.note)


def _told(each: Facts, facts: Sequence[Facts]) -> list[Table]:
    return [_of(each, table, facts) for table in tables.forgetting(each)]


def _trade_offs(facts: Sequence[Facts], pooled: tables.Pool) -> list[Figure]:
    """Return quality against speed and against size."""
    measured = [
        name
        for name in tables.quality_metrics(facts)
        if sum(name in candidate.metrics for candidate in pooled.candidates) > 1
    ]
    found = []
    for against in (tables.speed_metric(pooled), "size_bytes"):
        for quality in measured[:1]:
            identity = f"{quality}-{against}"
            drawing = charts.trade_off(identity, pooled.candidates, pooled.series, quality, against)
            if drawing:
                absent = [
                    each.name
                    for each in pooled.candidates
                    if against in each.metrics and quality not in each.metrics
                ]
                caption = "Filled: no other candidate is better in both."
                drawn = [each for each in pooled.candidates if {against, quality} <= each.metrics.keys()]
                if not charts.bear_names(drawn):
                    caption += " The numbers are those of the tables below."
                if absent:
                    caption += f" Not drawn, since only parity was measured of it: {', '.join(absent)}."
                found.append(Figure(drawing, caption))
    return found


def _curves(facts: Sequence[Facts]) -> Iterable[Figure]:
    """Yield loss and learning rate of each training; one that recipes share is drawn once."""
    seen = set()
    for each in facts:
        for step, entries in each.curves:
            if step.key in seen or not any("loss" in entry for entry in entries):
                continue
            seen.add(step.key)
            label = step.label if len(facts) == 1 else f"{each.label}: {step.label}"
            identity = f"curve-{len(seen)}"
            yield Figure(charts.loss_curve(f"{identity}-loss", label, entries), f"{label}: loss")
            yield Figure(charts.rate_curve(f"{identity}-rate", label, entries), f"{label}: learning rate")


def _decisions(facts: Sequence[Facts]) -> list[tuple[str, str]]:
    found: dict[tuple[str, str], None] = {}
    for each in facts:
        found |= dict.fromkeys(each.decisions)
    return list(found)


def _libraries(facts: Sequence[Facts]) -> list[tuple[str, str]]:
    versions: dict[str, str] = {}
    for each in facts:
        versions |= each.libraries
    return [("", "  ".join(f"{name} {version}" for name, version in versions.items()))] if versions else []


def file_name(facts: Sequence[Facts], asked: str = "") -> str:
    """Return the report's file name without its ending; *asked* is what was typed as recipes.

    >>> file_name([], "compare-compression"), file_name([], "quickstart,methods/factbook-prefix")
    ('compare-compression', 'compare-quickstart-methods-factbook-prefix')
    """
    if len(facts) == 1:
        return facts[0].name
    names = asked or "-".join(dict.fromkeys(each.recipe for each in facts))
    plain = re.sub(r"[^a-z0-9.]+", "-", names.lower()).strip("-")
    return (plain if plain.startswith("compare") else f"compare-{plain}".rstrip("-"))[:100]
