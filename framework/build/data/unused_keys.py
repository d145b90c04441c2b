"""The keys of rows that nothing reads: counted, and refused unless ``Data.ignore`` names them.

A key that is left behind in silence can hold half of what a row says: a history, a context, a weight.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from framework.build.data.row import Row
from framework.build.data.row_formats import meant_by, read_row
from framework.core.errors import DataError

_MOST = 1000
"""Distinct keys that are counted; rows whose keys are data would otherwise fill the memory."""
_SHOWN = 20


class UnusedKeys:
    """Counts the unused keys of all rows; memory is bounded, whatever the rows."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ignored: dict[str, bool] = {}
        """The keys that may be ignored, and whether a row has them."""

    def canonical(self, raw: Any, ignore: Collection[str]) -> Row:
        """Return the canonical row of *raw* without the keys of *ignore*; count those that are not used.

        Raises:
            DataError: the row is broken or has no accepted form.
        """
        row, unused = read_row(raw, ignore)
        for key in ignore:
            self._ignored[key] = self._ignored.get(key, False) or key in unused
        for key in sorted(unused.difference(ignore)):
            if key in self._counts or len(self._counts) < _MOST:
                self._counts[key] += 1
        return row

    def require_none(self) -> None:
        """Raise ``DataError`` with all unused keys, their counts and the override that ignores them."""
        if not self._counts:
            return
        lines = [
            f"  {key or repr(key)}: in {count} row{'' if count == 1 else 's'}"
            + (f"; did you mean '{meant}'?" if (meant := meant_by(key)) else "")
            for key, count in self._counts.most_common(_SHOWN)
        ]
        if len(self._counts) > _SHOWN:
            least = "at least " if len(self._counts) == _MOST else ""
            lines.append(f"  … and {least}{len(self._counts) - _SHOWN} more")
        override = ignore_override(dict.fromkeys((*self._ignored, *sorted(self._counts))))
        raise DataError(
            "data: rows have keys that are not used, so that nothing of what they say would be learned; "
            f"rename them to accepted ones, or set {override}:\n" + "\n".join(lines)
        )

    def report(self) -> None:
        """Print the ignored keys that no row has."""
        if absent := [key for key, seen in self._ignored.items() if not seen]:
            print(f"  data.ignore: no row has {', '.join(map(repr, absent))}", flush=True)


def ignore_override(keys: Iterable[str]) -> str:
    """Return ``data.ignore=[…]`` as it can be pasted into a shell.

    >>> print(ignore_override(["id", "messages[].id"]))
    'data.ignore=[id,"messages[].id"]'
    """
    plain = re.compile(r"(?!(?:null|true|false|inf|nan)$)[A-Za-z_][A-Za-z0-9_]*", re.I)
    listed = (key if plain.fullmatch(key) else json.dumps(key, ensure_ascii=False) for key in keys)
    return "'data.ignore=[" + ",".join(listed).replace("'", "'\\''") + "]'"
