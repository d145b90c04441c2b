"""The report as one self-contained HTML page: no network, script or font.

Jinja escapes all data; charts escape their own text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from framework.report import charts, cleaning, narrative, tables
from framework.report.facts import Facts
from framework.report.tables import Cell, Table

_SHORT = 40
"""Longest answer, in characters, that is shown in a table."""


@dataclass(frozen=True)
class Figure:
    """A chart and its caption."""

    drawing: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    identity: str
    title: str
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    answered: Sequence[narrative.Answered] = ()
    listings: Sequence[tuple[str, str]] = ()


def page(facts: Sequence[Facts]) -> str:
    """Return the page on one recipe, or a comparison of several."""
    from jinja2 import Environment
    from markupsafe import Markup

    here = files("framework.report")
    # Autoescaping does not depend on the template's file name.
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["drawn"] = Markup
    environment.globals["mark"] = lambda number: Markup(charts.mark(number))
    template = environment.from_string((here / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(
        title=narrative.heading(facts),
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        facts=facts,
        outcome=narrative.outcome,
        origin=narrative.origin,
        sections=[section for section in _sections(facts) if _has_something(section)],
    )


def _has_something(section: Section) -> bool:
    return bool(
        any(table.rows for table in section.tables) or section.figures or section.answered or section.listings
    )


def _sections(facts: Sequence[Facts]) -> list[Section]:
    pooled = tables.pool(facts)
    several = len(facts) > 1
    settings = [tables.settings(facts)]
    gates = Section("gates", "Gates", [tables.gates(facts)])
    measured = Section(
        "candidates", "Candidates", tables.candidate_tables(facts, pooled), _trade_offs(facts, pooled)
    )
    return [
        Section("differences", "Differences", settings if several else []),
        *([measured, gates] if several else [gates, measured]),
        _examples(narrative.examples(facts, pooled)),
        Section("forgetting", "Forgetting", _forgetting(facts)),
        Section("training", "Training", figures=list(_curves(facts))),
        Section("batches", "Batch sizes", [_labeled(each, tables.batches(each), facts) for each in facts]),
        Section("decisions", "Compression decisions", listings=_decisions(facts)),
        Section("data", "Data", [tables.data(facts)]),
        Section("cleaning", "Cleaning", _cleaning(facts)),
        Section("settings", "Settings", [] if several else settings),
        Section("steps", "Steps", [_labeled(each, tables.steps(each), facts) for each in facts]),
        Section("libraries", "Libraries", listings=_libraries(facts)),
    ]


def _cleaning(facts: Sequence[Facts]) -> list[Table]:
    return [table for table in (cleaning.counts(facts), cleaning.samples(facts)) if table.rows]


def _examples(answered: Sequence[narrative.Answered]) -> Section:
    """Return answers side by side; in a table if all are short, such as a classifier's."""
    short = all(
        max(len(one.expected), *(len(answer) for _, answer, _ in one.answers)) <= _SHORT for one in answered
    )
    if not (short and answered):
        return Section("examples", "Before and after", answered=answered)
    names = list(dict.fromkeys(name for one in answered for name, _, _ in one.answers))
    rows = []
    for one in answered:
        cells = {name: Cell(answer or "(empty)", "passed" * right) for name, answer, right in one.answers}
        answers = [cells.get(name, Cell("—")) for name in names]
        rows.append([Cell(" ".join(one.prompt.split())), Cell(one.expected), *answers])
    head = ["prompt", "expected", *names]
    note = "Colored and bold: as expected."
    table = Table("Before and after", head, rows, len(head), note)
    return Section("examples", "Before and after", [table])


def _labeled(recipe: Facts, table: Table, facts: Sequence[Facts]) -> Table:
    """Return *table* with the recipe's label in its caption, if there are several recipes."""
    if len(facts) == 1:
        return table
    return Table(f"{recipe.label}: {table.caption}", table.head, table.rows, table.names, table.note)


def _forgetting(facts: Sequence[Facts]) -> list[Table]:
    return [_labeled(recipe, table, facts) for recipe in facts for table in tables.forgetting(recipe)]


def _trade_offs(facts: Sequence[Facts], pooled: tables.Pool) -> list[Figure]:
    """Return the main quality metric against speed and against size."""
    compared = (
        name
        for name in tables.quality_metrics(facts)
        if sum(name in candidate.metrics for candidate in pooled.candidates) > 1
    )
    quality = next(compared, None)
    if quality is None:
        return []
    figures = []
    for against in (tables.speed_metric(pooled), "size_bytes"):
        identity = f"{quality}-{against}"
        drawing = charts.trade_off(identity, pooled.candidates, pooled.series, quality, against)
        if drawing:
            figures.append(Figure(drawing, _trade_off_caption(pooled, quality, against)))
    return figures


def _trade_off_caption(pooled: tables.Pool, quality: str, against: str) -> str:
    timed = [candidate for candidate in pooled.candidates if against in candidate.metrics]
    drawn = [candidate for candidate in timed if quality in candidate.metrics]
    absent = [candidate.name for candidate in timed if quality not in candidate.metrics]
    caption = "Filled: no other candidate is better in both."
    if not charts.labeled_by_name(drawn):
        caption += " Numbers refer to the tables below."
    if absent:
        caption += f" Not drawn because only parity was measured: {', '.join(absent)}."
    return caption


def _curves(facts: Sequence[Facts]) -> Iterable[Figure]:
    """Yield loss and learning rate of each training; a shared training is drawn once."""
    seen = set()
    for recipe in facts:
        for step, entries in recipe.curves:
            if step.key in seen or not any("loss" in entry for entry in entries):
                continue
            seen.add(step.key)
            label = step.label if len(facts) == 1 else f"{recipe.label}: {step.label}"
            identity = f"curve-{len(seen)}"
            yield Figure(charts.loss_curve(f"{identity}-loss", label, entries), f"{label}: loss")
            yield Figure(charts.rate_curve(f"{identity}-rate", label, entries), f"{label}: learning rate")


def _decisions(facts: Sequence[Facts]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(decision for recipe in facts for decision in recipe.decisions))


def _libraries(facts: Sequence[Facts]) -> list[tuple[str, str]]:
    versions: dict[str, str] = {}
    for recipe in facts:
        versions |= recipe.libraries
    return [("", "  ".join(f"{name} {version}" for name, version in versions.items()))] if versions else []


def file_name(facts: Sequence[Facts], asked: str = "") -> str:
    """Return the report's file name without suffix; *asked* is the user's list of recipes.

    >>> file_name([], "compare-compression"), file_name([], "quickstart,methods/factbook-prefix")
    ('compare-compression', 'compare-quickstart-methods-factbook-prefix')
    """
    if len(facts) == 1:
        return facts[0].name
    names = asked or "-".join(dict.fromkeys(recipe.recipe for recipe in facts))
    plain = re.sub(r"[^a-z0-9.]+", "-", names.lower()).strip("-")
    return (plain if plain.startswith("compare") else f"compare-{plain}".rstrip("-"))[:100]
