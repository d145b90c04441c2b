"""Format differences as text for a terminal, or as Markdown for a pull request's comment."""

import html
import re
from collections.abc import Callable, Sequence

from framework.gitops.differences import Difference
from framework.run.screens import brief

MARKER = "<!-- gitune diff -->"
"""The first line of the comment, which identifies it when it is updated."""
LIMIT = 65_000
"""Most characters of the comment; GitHub's limit is 65,536."""
_SHOWN_LINES = (1000, 200, 50, 0)
"""Most lines of each manifest diff and table; tried in turn until the comment fits."""
_WIDE = 400
"""Most characters of a value in a table."""


def as_text(base: str, differences: Sequence[Difference]) -> str:
    """Return the differences as plain lines."""
    lines = [f"Against {base}:"]
    for recipe in differences:
        lines += ["", f"{recipe.recipe}: {_headline(recipe)}"]
        lines += [f"  config     {key}: {old} -> {new}" for key, old, new in recipe.config]
        lines += [f"  runs again {label}: {why}" for label, why in recipe.steps if not recipe.is_new]
        lines += [f"  gone       {label}" for label in recipe.gone]
        for release, text in recipe.manifests.items():
            lines.append(f"  manifests  {release}: {'would change' if text else 'nothing changes'}")
            lines += [f"    {line}" for line in brief(text).splitlines()]
    return "\n".join(lines if differences else [*lines, "", "no recipe changes"])


def as_markdown(base: str, differences: Sequence[Difference]) -> str:
    """Return the differences as a comment of at most ``LIMIT`` characters."""
    head = f"{MARKER}\n## What this changes\n\nAgainst {_code(base)}.\n"
    if not differences:
        return f"{head}\nNo recipe changes.\n"
    for most in _SHOWN_LINES:
        text = head
        for recipe in differences:
            text += _section(recipe, most)
            if len(text) > LIMIT:
                break
        else:
            return text
    rest = "\n…and more recipes than fit into a comment; `run diff` shows them all.\n"
    text = head
    for recipe in differences:
        line = f"\n- {_code(recipe.recipe)}: {_headline(recipe, _code)}\n"
        if len(text) + len(line) + len(rest) > LIMIT:
            return text + rest
        text += line
    return text


def _headline(recipe: Difference, escape: Callable[[str], str] = str) -> str:
    if recipe.error:
        return f"cannot be planned: {escape(recipe.error)}"
    if recipe.is_new:
        return f"new, {recipe.step_count} steps"
    if not recipe:
        return "nothing changes"
    parts = [
        f"config keys that differ: {len(recipe.config)}",
        f"steps that would run again: {len(recipe.steps)} of {recipe.step_count}",
    ]
    if recipe.manifests:
        changed = sum(1 for text in recipe.manifests.values() if text)
        parts.append(f"environments that change: {changed} of {len(recipe.manifests)}")
    return "; ".join(parts)


def _section(recipe: Difference, most: int) -> str:
    parts = [f"\n### {_code(recipe.recipe)}\n\n{_headline(recipe, _code)}\n"]
    keys = [(_code(key), _code(old), _code(new)) for key, old, new in recipe.config]
    parts.append(_table("Config", ("key", "base", "here"), keys, most))
    steps = [] if recipe.is_new else [(_code(label), _code(why)) for label, why in recipe.steps]
    steps += [(_code(label), "gone") for label in recipe.gone]
    parts.append(_table("Plan: steps that would run again", ("step", "why"), steps, most))
    parts += [_manifests(release, text, most) for release, text in recipe.manifests.items() if text]
    return "".join(parts)


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> str:
    if not rows:
        return ""
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    lines += [f"| {' | '.join(row)} |" for row in rows[:most]]
    more = [f"\n…and {len(rows) - most} more."] if len(rows) > most else []
    return _folded(f"{title} ({len(rows)})", [*lines, *more])


def _manifests(release: str, text: str, most: int) -> str:
    lines = text.splitlines()
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])
    more = [f"\n…and {len(lines) - most} more lines."] if len(lines) > most else []
    shown = [f"{fence}diff", *lines[:most], fence]
    return _folded(f"Manifests of {release} ({len(lines)} lines)", [*shown, *more])


def _folded(title: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    return f"\n<details><summary>{html.escape(title)}</summary>\n\n{body}\n\n</details>\n"


def _code(value: str) -> str:
    """Return *value* as inline code that cannot break the table or trigger @mentions."""
    text = value if len(value) <= _WIDE else f"{value[:_WIDE]}…"
    safe = html.escape(" ".join(text.split()), quote=False)
    return f"<code>{safe.translate({ord(sign): f'&#{ord(sign)};' for sign in '|`*_[]@#~$'})}</code>"
