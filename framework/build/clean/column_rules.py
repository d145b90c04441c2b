"""What a column of a row must be like, and the columns that a canonical row has."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from framework.build.data.row import Row
from framework.core.component import Component

COLUMNS = (
    *("system", "prompt", "answer", "turns", "tools", "rejected", "desirable"),
    *("text", "label", "labels", "image", "tokens", "tags"),
)
Broken = tuple[str, str]
"""The name of a rule that a value breaks, and why."""
NO_JSON = object()
"""The value below an answer that is no JSON object."""
_SHOWN = 60


class ColumnRules(Component):
    """Rules of one column. A value that is missing or blank breaks ``required`` alone."""

    required: bool = False
    """There must be a value."""
    type: Literal["text", "integer", "number", "boolean", "list", "object"] | None = None
    """A text of the row that reads as a number is one; in an answer's JSON a text is a text."""
    pattern: str | None = None
    """A regular expression (RE2) that the whole value matches, in time linear in its length."""
    allowed: Annotated[tuple[str | bool | int | float, ...], Field(min_length=1)] | None = None
    """The values that there may be, compared as texts."""
    minimum: float | None = None
    """Least number."""
    maximum: float | None = None
    """Greatest number."""
    min_length: Annotated[int, Field(ge=0)] | None = None
    """Fewest characters of a text, or items of a list."""
    max_length: Annotated[int, Field(ge=0)] | None = None
    """Most characters of a text, or items of a list."""
    unique: bool = False
    """An earlier row must not have the same value."""

    def broken(self, values: Sequence[Any], *, texts: bool) -> list[list[Broken]]:
        """Return for each value the rules that it breaks, without ``unique``.

        Args:
            values: one for each row; None where it is missing.
            texts: whether a text that reads as a number is one.
        """
        found = [[*self._broken(value, texts)] for value in values]
        if self.pattern is not None:
            items = [(row, item) for row, value in enumerate(values) for item in _items(value)]
            matched = matches(self.pattern, [shown_whole(item) for _, item in items])
            for (row, item), fine in zip(items, matched, strict=True):
                if not fine:
                    found[row].append(("pattern", f"is {_shown(item)}, which does not match {self.pattern}"))
        return found

    def _broken(self, value: Any, texts: bool) -> Iterator[Broken]:
        if value is NO_JSON:
            yield "type", "is missing: the answer is no JSON object"
        elif is_missing(value):
            if self.required:
                yield "required", "is missing"
        elif self.type is not None and not _is(value, self.type, texts):
            yield "type", f"is {_shown(value)}, not {self.type}"
        else:
            yield from self._outside(value, texts)

    def _outside(self, value: Any, texts: bool) -> Iterator[Broken]:
        if self.allowed is not None:
            allowed = {*map(shown_whole, self.allowed)}
            wrong = [item for item in _items(value) if shown_whole(item) not in allowed]
            if wrong:
                yield "allowed", f"is {_shown(wrong[0])}; allowed are {', '.join(map(_shown, self.allowed))}"
        if (self.minimum, self.maximum) != (None, None):
            number = number_of(value, texts)
            if number is None:
                yield "type", f"is {_shown(value)}, not number"
            elif self.minimum is not None and number < self.minimum:
                yield "minimum", f"is {number:g}, less than {self.minimum:g}"
            elif self.maximum is not None and number > self.maximum:
                yield "maximum", f"is {number:g}, more than {self.maximum:g}"
        if isinstance(value, str | list):
            unit = "characters" if isinstance(value, str) else "items"
            if self.min_length is not None and len(value) < self.min_length:
                yield "min_length", f"has {len(value)} {unit}, fewer than {self.min_length}"
            if self.max_length is not None and len(value) > self.max_length:
                yield "max_length", f"has {len(value)} {unit}, more than {self.max_length}"


def columns_of(row: Row) -> dict[str, Any]:
    """Return the value of each of ``COLUMNS`` that the row has.

    ``system`` and ``prompt`` are the contents of the system's and the last user's turn, ``answer`` that of
    the last turn; ``turns`` is their number and ``tools`` are the names of the tools.
    """
    values: dict[str, Any] = {key: value for key, value in row.items() if key in COLUMNS}
    if "tools" in row:
        values["tools"] = [tool.get("function", tool).get("name") for tool in row["tools"]]
    if "messages" in row:
        turns = row["messages"]
        values["turns"] = len(turns)
        values["answer"] = turns[-1]["content"]
        for column, role in (("system", "system"), ("prompt", "user")):
            contents = [turn["content"] for turn in turns if turn["role"] == role]
            values |= {column: contents[-1]} if contents else {}
    return values


def json_of(answer: Any) -> Any:
    """Return what the answer says as a JSON object, else ``NO_JSON``; None where there is no answer."""
    if is_missing(answer):
        return None
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return NO_JSON
    return value if isinstance(value, Mapping) else NO_JSON


def below(value: Any, path: Sequence[str]) -> Any:
    """Return the value at *path* of JSON objects; None where a key is missing."""
    for key in path:
        if value is NO_JSON or not isinstance(value, Mapping):
            return value if value is NO_JSON else None
        value = value.get(key)
    return value


def matches(pattern: str, texts: Sequence[str]) -> list[bool]:
    """Return whether each text as a whole matches *pattern*, by RE2.

    Raises:
        ValueError: it is no pattern of RE2, which has no look-around and no back references.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[bool] = pc.match_substring_regex(
        pa.array(texts, pa.large_string()), rf"\A(?:{pattern})\z"
    ).to_pylist()
    return found


def is_missing(value: Any) -> bool:
    """Tell whether there is no value: none, an empty list, or a blank text."""
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def number_of(value: Any, texts: bool) -> float | None:
    """Return *value* as a finite number, or None; a text counts if *texts*."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not texts:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def shown_whole(value: Any) -> str:
    """Return a value as text, as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _shown(value: Any) -> str:
    text = " ".join(shown_whole(value).split())
    return f"'{text}'" if len(text) <= _SHOWN else f"'{text[: _SHOWN - 1]}…'"


def _items(value: Any) -> list[Any]:
    if value is NO_JSON or is_missing(value):
        return []
    return value if isinstance(value, list) else [value]


def _is(value: Any, kind: str, texts: bool) -> bool:
    if kind in ("integer", "number"):
        number = number_of(value, texts)
        return number is not None and (kind == "number" or number.is_integer())
    if kind == "boolean":
        return isinstance(value, bool) or (texts and value in ("true", "false"))
    return isinstance(value, {"text": str, "list": list, "object": Mapping}[kind])
