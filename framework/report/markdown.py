"""The report as Markdown, for a pull request: the page's sentences and first tables."""

import re
from collections.abc import Sequence

from framework.report import narrative as story
from framework.report import tables
from framework.report.facts import Facts
from framework.report.tables import Table

_SPECIAL = re.compile(r"[&\\`*\[\]|~#!@$]|<(?!=)|:(?=//)|(?<=www)\.|(?<![^\W_])_|_(?![^\W_])")
"""What Markdown could read as more than a letter; an underscore within a word and ``>=`` it lets stand."""


def escaped(text: str) -> str:
    r"""Return *text* as one line that Markdown shows as it is: no table, link, mention or HTML comes of it.

    >>> escaped("<b>|x|</b>")
    '&#60;b>&#124;x&#124;&#60;/b>'
    >>> escaped("tuned.exact_match >= 0.5, _not_ this")
    'tuned.exact_match >= 0.5, &#95;not&#95; this'
    >>> escaped("http://a.b www.a.b")
    'http&#58;//a.b www&#46;a.b'
    >>> escaped("two\nlines")
    'two lines'
    """
    return " ".join(_SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text).split())


def markdown(facts: Sequence[Facts]) -> str:
    """Return the text on one recipe, or on several in comparison."""
    pooled = tables.pool(facts)
    lines = [f"## {escaped(story.heading(facts))}", ""]
    for each in facts:
        named = f"**{escaped(each.label)}** " if len(facts) > 1 else ""
        lines += [f"{named}{escaped(story.outcome(each))}", ""]
    shown = [tables.gates(facts), *tables.candidate_tables(facts, pooled)]
    shown += [table for each in facts for table in tables.forgetting(each)]
    shown += [tables.data(facts), tables.chosen(facts)]
    for table in shown:
        lines += _table(table)
    lines += _examples(story.examples(facts, pooled))
    for each in facts:
        for name, value in story.origin(each):
            lines.append(f"- {escaped(name)}: {escaped(value)}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    if not table.rows:
        return []
    sides = [":--" if number < table.names else "--:" for number in range(len(table.head))]
    rows = [
        [
            f"**{escaped(cell.text)}**" if cell.kind in ("best", "failed") else escaped(cell.text)
            for cell in row
        ]
        for row in table.rows
    ]
    head = [escaped(name) for name in table.head]
    body = [f"| {' | '.join(row)} |" for row in (head, sides, *rows)]
    note = [escaped(table.note), ""] if table.note else []
    return [f"### {escaped(table.caption)}", "", *body, "", *note]


def _examples(answered: Sequence[story.Answered]) -> list[str]:
    lines = []
    for one in answered:
        lines += [f"- asked: {escaped(one.prompt)}", f"  - wanted: {escaped(one.expected)}"]
        lines += [f"  - {escaped(name)}: {escaped(answer) or '(nothing)'}" for name, answer, _ in one.answers]
    return ["### Before and after", "", *lines, ""] if lines else []
