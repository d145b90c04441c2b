"""Generate ``docs/reference.md``: every option and key, from the docstrings of the code.

``python docs/reference.py`` writes it. ``--check`` writes nothing and exits with 1 if it is out of date.
"""

import sys
from pathlib import Path
from typing import Any

from framework.config.jsonschema import option_classes
from framework.config.schema import GROUPS, Config
from framework.core.component import Component
from framework.core.docstrings import field_docstrings
from framework.core.paths import SHARE

TARGET = Path(__file__).with_name("reference.md")


def reference() -> str:
    """Return the page's text."""
    parts = ["# Reference", "", "Generated from the code by `just docs`; do not edit.", ""]
    plain = [name for name in Config.model_fields if name not in GROUPS]
    parts += ["## Keys outside the groups", "", *_table(Config, plain)]
    for group in GROUPS:
        parts += [f"## {group}", ""]
        by_class: dict[type[Component], list[str]] = {}
        for name, cls in option_classes(group, (SHARE,)).items():
            by_class.setdefault(cls, []).append(name)
        for cls, names in by_class.items():
            parts += [f"### {', '.join(f'`{group}={name}`' for name in names)}", "", _first(cls.__doc__), ""]
            parts += _table(cls, list(cls.model_fields))
    return "\n".join(parts).rstrip() + "\n"


def _table(cls: type[Component], names: list[str]) -> list[str]:
    if not names:
        return []
    return ["| key | default | meaning |", "| --- | --- | --- |", *_rows(cls, names, ""), ""]


def _rows(cls: type[Component], names: list[str], prefix: str) -> list[str]:
    rows = []
    for name in names:
        field = cls.model_fields[name]
        if isinstance(field.default, Component):
            inner = type(field.default)
            rows += _rows(inner, list(inner.model_fields), f"{prefix}{name}.")
            continue
        value = field.get_default(call_default_factory=True)
        default = "required" if field.is_required() else f"`{_format_default(value)}`"
        rows.append(f"| `{prefix}{name}` | {default} | {_first(field_docstrings(cls).get(name))} |")
    return rows


def _format_default(value: Any) -> str:
    return "null" if value is None else str(list(value) if isinstance(value, tuple) else value)


def _first(text: str | None) -> str:
    paragraph = (text or "").strip().split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != reference():
            sys.exit("docs/reference.md is out of date; regenerate it with `just docs`")
        sys.exit(0)
    TARGET.write_text(reference(), encoding="utf-8")
