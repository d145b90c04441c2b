"""One JSON object that has all rows of a file: below a key, or column by column as pandas writes it.

What may as well be a single row stays one; the next stage says what is wrong with it.
"""

from typing import Any

from framework.build.data.raw_rows import Unreadable
from framework.build.data.row_values import is_missing

_ROWS_KEYS = ("data", "rows", "examples", "instances", "items", "records", "samples")
_FACTS = (
    *("version", "name", "title", "description", "homepage", "url", "license", "citation"),
    *("author", "created", "created_at", "date", "updated", "updated_at", "language", "lang", "split"),
    *("format", "count", "size", "total", "num_rows", "num_rows_total", "num_examples"),
)
"""What says something about a file and nothing about its rows."""


def rows_of(value: Any) -> list[Any]:
    """Return the rows of *value*, the only value of a file; ``[value]`` if it is a row itself.

    >>> rows_of({"version": "1.1", "data": [{"text": "a"}, {"text": "b"}]})
    [{'text': 'a'}, {'text': 'b'}]
    >>> rows_of({"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}})
    [{'text': 'a', 'label': 1}, {'text': 'b', 'label': 0}]
    >>> rows_of({"text": "a", "label": 1})
    [{'text': 'a', 'label': 1}]

    Raises:
        Unreadable: beside the rows are keys that may belong to each of them.
    """
    if not isinstance(value, dict) or not value:
        return [value]
    rows = _below_a_key(value) or _split(value) or _of_mappings(value) or _of_lists(value)
    return rows or [value]


def _below_a_key(value: dict[str, Any]) -> list[Any]:
    """Read ``{"data": [{…}, …]}``, with or without facts about the file beside it."""
    lists = [key for key, items in value.items() if _are(items, dict)]
    if len(lists) != 1 or lists[0] not in _ROWS_KEYS:
        return []
    (rows,) = lists
    if lost := [key for key, item in value.items() if key != rows and not _is_fact(key, item)]:
        raise Unreadable(
            None,
            f"the rows are below '{rows}', and nothing reads {', '.join(map(repr, lost))} beside it; write "
            "that into each row, or remove it",
        )
    return list(value[rows])


def _split(value: dict[str, Any]) -> list[Any]:
    """Read pandas' ``split``: ``{"columns": […], "index": […], "data": [[…], …]}``."""
    columns: Any = value.get("columns")
    cells: Any = value.get("data")
    if not _are(columns, str) or not _are(cells, list) or set(value) - {"columns", "data", "index"}:
        return []
    if any(len(row) != len(columns) for row in cells):
        return []
    return [dict(zip(columns, row, strict=True)) for row in cells]


def _of_mappings(value: dict[str, Any]) -> list[Any]:
    """Read pandas' ``columns`` and ``index``: a mapping for each column by row number, or the reverse."""
    if not all(isinstance(part, dict) and part for part in value.values()):
        return []
    if all(key.isdecimal() for key in value):
        return list(value.values())
    numbers = list(next(iter(value.values())))
    if not all(key.isdecimal() for key in numbers) or any([*part] != numbers for part in value.values()):
        return []
    return [{column: part[number] for column, part in value.items()} for number in numbers]


def _of_lists(value: dict[str, Any]) -> list[Any]:
    """Read ``{"text": ["a", "b"], "label": [1, 0]}``.

    Lists of objects may be the turns of one row, and ``tokens`` with ``tags`` its words.
    """
    if not all(isinstance(part, list) and part for part in value.values()):
        return []
    if len({len(part) for part in value.values()}) != 1:
        return []
    of_words = {"tokens", "tags"} <= value.keys() and _are(value["tokens"], str)
    is_column = any(_are(part, str) or _are(part, list) for part in value.values())
    if of_words or not is_column or any(_are(part, dict) for part in value.values()):
        return []
    count = len(next(iter(value.values())))
    return [{column: part[number] for column, part in value.items()} for number in range(count)]


def _is_fact(key: str, value: Any) -> bool:
    """Return whether *value* says nothing about the rows; pandas' ``table`` has a ``schema`` beside them."""
    if key == "schema":
        return isinstance(value, dict) and "fields" in value
    return is_missing(value) or (key.lower() in _FACTS and not isinstance(value, dict | list))


def _are(items: Any, kind: type) -> bool:
    """Return whether *items* is a list of one or more values of *kind*."""
    return isinstance(items, list) and bool(items) and all(isinstance(item, kind) for item in items)
