"""Checks of single values in a raw row; every message names the value."""

import json
from collections.abc import Mapping
from typing import Any

from framework.core.errors import DataError


def is_missing(value: Any) -> bool:
    """Return whether *value* says nothing: null, or empty text, list or object.

    CSV and Alpaca files write "" for none, Parquet fills absent keys with null.
    """
    return value is None or (isinstance(value, str | list | tuple | Mapping) and not value)


def require_text(value: Any, name: str, *, blank: bool = False) -> str:
    """Return *value* if it is text that is not blank, or that may be *blank*.

    Raises:
        DataError: it is not text, or is blank, binary or not valid Unicode.
    """
    if not isinstance(value, str):
        raise DataError(f"{name} must be text, not {kind_of(value)}")
    if not blank and not value.strip():
        raise DataError(f"empty {name}")
    if "\0" in value:
        raise DataError(f"{name} contains a NUL character; the file may be binary or UTF-16")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{name} is not valid Unicode (half of a surrogate pair, or not UTF-8)") from None
    return value


def require_texts(values: Any, name: str) -> list[str]:
    """Return the texts of a list.

    Raises:
        DataError: *value* is not a list, or one of its items is not text.
    """
    if not isinstance(values, list | tuple):
        raise DataError(f"{name} must be a list, not {kind_of(values)}")
    return [require_text(value, f"{name}[{index}]") for index, value in enumerate(values)]


def require_objects(values: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list.

    Raises:
        DataError: *values* is not a list, or one of its items is not an object.
    """
    if not isinstance(values, list | tuple) or not all(isinstance(value, Mapping) for value in values):
        raise DataError(f"{name} must be a list of objects")
    return [dict(value) for value in values]


def parse_json(text: str, name: str) -> Any:
    """Return the value of JSON text.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{name} is text, but not JSON: {text[:40]!r}") from None


def kind_of(value: Any) -> str:
    """Return what JSON calls the type of *value*, for messages."""
    kinds = ((bool, "a boolean"), (int | float, "a number"), (str, "text"), (Mapping, "an object"),
             (list | tuple, "a list"), (type(None), "null"))  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)
