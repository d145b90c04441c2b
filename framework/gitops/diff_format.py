"""Differences as text for a terminal, and as Markdown for the one comment of a pull request."""

import html
import re
from collections.abc import Callable, Sequence

from framework.gitops.differences import Difference
from framework.run.screens import brief

MARKER = "<!-- gitune diff -->"
"""The first line of the comment, by which it is found again to be updated."""
LIMIT = 65_000
"""Characters of the comment; GitHub takes 65,536."""
_SHOWN_LINES = (1000, 200, 50, 0)
"""Lines of each manifest diff and table that are tried until the comment fits."""
_WIDE = 400
"""Characters of a value that are shown in a table."""


def as_text(base: str, found: Sequence[Difference]) -> str:
    """Return the differences in plain lines."""
    lines = [f"Against {base}:"]
    for each in found:
        lines += ["", f"{each.recipe}: {_headline(each)}"]
        lines += [f"  config     {key}: {old} -> {new}" for key, old, new in each.config]
        lines += [f"  runs again {label}: {why}" for label, why in each.steps if not each.is_new]
        lines += [f"  gone       {label}" for label in each.gone]
        for place, text in each.manifests.items():
            lines.append(f"  manifests  {place}: {'would change' if text else 'nothing changes'}")
            lines += [f"    {line}" for line in brief(text).splitlines()]
    return "\n".join(lines if found else [*lines, "", "no recipe changes"])


def as_markdown(base: str, found: Sequence[Difference]) -> str:
    """Return the differences as a comment that is never longer than ``LIMIT``."""
    head = f"{MARKER}\n## What this changes\n\nAgainst {_code(base)}.\n"
    if not found:
        return f"{head}\nNo recipe changes.\n"
    for most in _SHOWN_LINES:
        text = head
        for each in found:
            text += _section(each, most)
            if len(text) > LIMIT:
                break
        else:
            return text
    rest = "\n…and more recipes than a comment holds; `run diff` shows them all.\n"
    text = head
    for each in found:
        part = f"\n- {_code(each.recipe)}: {_headline(each, _code)}\n"
        if len(text) + len(part) + len(rest) > LIMIT:
            return text + rest
        text += part
    return text


def _headline(each: Difference, word: Callable[[str], str] = str) -> str:
    if each.error:
        return f"cannot be planned: {word(each.error)}"
    if each.is_new:
        return f"new, {each.step_count} steps"
    if not each:
        return "nothing changes"
    parts = [
        f"config keys that differ: {len(each.config)}",
        f"steps that would run again: {len(each.steps)} of {each.step_count}",
    ]
    if each.manifests:
        moved = sum(1 for text in each.manifests.values() if text)
        parts.append(f"environments that change: {moved} of {len(each.manifests)}")
    return "; ".join(parts)


def _section(each: Difference, most: int) -> str:
    parts = [f"\n### {_code(each.recipe)}\n\n{_headline(each, _code)}\n"]
    keys = [(_code(key), _code(old), _code(new)) for key, old, new in each.config]
    parts.append(_table("Config", ("key", "base", "here"), keys, most))
    steps = [] if each.is_new else [(_code(label), _code(why)) for label, why in each.steps]
    steps += [(_code(label), "gone") for label in each.gone]
    parts.append(_table("Plan: what would run again", ("step", "why"), steps, most))
    parts += [_manifests(place, text, most) for place, text in each.manifests.items() if text]
    return "".join(parts)


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    lines += [f"| {' | '.join(row)} |" for row in rows[:most]]
    more = [f"\n…and {len(rows) - most} more."] if len(rows) > most else []
    return _folded(f"{title} ({len(rows)})", [*lines, *more])


def _manifests(place: str, text: str, most: int) -> str:
    lines = text.splitlines()
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])
    more = [f"\n…and {len(lines) - most} more lines."] if len(lines) > most else []
    shown = [f"{fence}diff", *lines[:most], fence]
    return _folded(f"Manifests of {place} ({len(lines)} lines)", [*shown, *more])


def _folded(title: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    return f"\n<details><summary>{html.escape(title)}</summary>\n\n{body}\n\n</details>\n"


def _code(value: str) -> str:
    """Return *value* as code that can break out of no table, and call nobody by name."""
    text = value if len(value) <= _WIDE else f"{value[:_WIDE]}…"
    safe = html.escape(" ".join(text.split()), quote=False)
    return f"<code>{safe.translate({ord(sign): f'&#{ord(sign)};' for sign in '|`*_[]@#~$'})}</code>"
