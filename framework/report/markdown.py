"""The report as Markdown, for a pull request: the page's summary and main tables."""

import re
from collections.abc import Sequence

from framework.report import cleaning, narrative, tables
from framework.report.facts import Facts
from framework.report.tables import Table

_SPECIAL = re.compile(r"[&\\`*\[\]|~#!@$]|<(?!=)|:(?=//)|(?<=www)\.|(?<![^\W_])_|_(?![^\W_])")
"""Characters with a meaning in Markdown, except an underscore within a word and the ``>`` of ``>=``."""


def escaped(text: str) -> str:
    r"""Return *text* as one line without Markdown or HTML syntax: no table, link or mention.

    >>> escaped("<b>|x|</b>")
    '&#60;b>&#124;x&#124;&#60;/b>'
    >>> escaped("tuned.exact_match >= 0.5, _not_ this")
    'tuned.exact_match >= 0.5, &#95;not&#95; this'
    >>> escaped("http://a.b www.a.b")
    'http&#58;//a.b www&#46;a.b'
    >>> escaped("two\nlines")
    'two lines'
    """
    return " ".join(_SPECIAL.sub(lambda match: f"&#{ord(match[0])};", text).split())


def markdown(facts: Sequence[Facts]) -> str:
    """Return the report on one recipe, or a comparison of several."""
    pooled = tables.pool(facts)
    lines = [f"## {escaped(narrative.heading(facts))}", ""]
    for recipe in facts:
        label = f"**{escaped(recipe.label)}** " if len(facts) > 1 else ""
        lines += [f"{label}{escaped(narrative.outcome(recipe))}", ""]
    shown = [tables.gates(facts), *tables.candidate_tables(facts, pooled)]
    shown += [table for recipe in facts for table in tables.forgetting(recipe)]
    shown += [tables.data(facts), cleaning.counts(facts), tables.settings(facts)]
    for table in shown:
        lines += _table(table)
    lines += _examples(narrative.examples(facts, pooled))
    for recipe in facts:
        for name, value in narrative.origin(recipe):
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


def _examples(answered: Sequence[narrative.Answered]) -> list[str]:
    lines = []
    for one in answered:
        lines += [f"- prompt: {escaped(one.prompt)}", f"  - expected: {escaped(one.expected)}"]
        lines += [f"  - {escaped(name)}: {escaped(answer) or '(empty)'}" for name, answer, _ in one.answers]
    return ["### Before and after", "", *lines, ""] if lines else []
