"""Rows of JSON files: JSON Lines, arrays, values one after the other, and one object with all rows.

It does not know what a row means.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, tee
from pathlib import Path
from typing import Any

from framework.build.data.json_layouts import rows_of
from framework.build.data.raw_rows import EMPTY, Record, Unreadable, drop_trailing_blanks, not_utf8
from framework.build.data.text_lines import numbered_lines

_Lines = Iterable[tuple[int, bytes]]
_DECODER = json.JSONDecoder()
_BLANKS = " \t\r\n"


def read_json(path: Path) -> Iterator[Record]:
    """Read JSON of any layout, whatever the file's suffix.

    That is one value per line; arrays; values that span lines, one after the other; or one object with all
    rows, see ``json_layouts``. Among lines, a blank one is a broken row, except at the end of the file. Rows
    are decoded one by one, but a line, or an object with all rows, is in memory as a whole.

    Raises:
        Unreadable: values that span lines are broken, so that the rows after the fault cannot be separated.
    """
    lines = numbered_lines(path)
    head = list(_through_first_text(lines))
    if not head:
        return
    number, line = head[-1]
    rest: _Lines = lines
    if line.lstrip().startswith(b"["):
        yield from _values(chain(head, lines))
        return
    if line.lstrip().startswith(b"{"):
        first = _parse_line(number, line)
        if first[0].problem is not None:
            yield from _spanning(chain(head, lines))
            return
        rest = list(_through_first_text(lines))
        if not any(line.strip() for _, line in rest):
            yield from _of_one(first)
            return
    yield from _json_lines(chain(head, rest, lines))


def _spanning(lines: _Lines) -> Iterator[Record]:
    """Read objects that span lines; if the first is no object, read lines of which the first is broken."""
    ahead, again = tee(lines)
    values = _values(ahead)
    try:
        first = next(values)
    except Unreadable:
        yield from _json_lines(again)
        return
    del again  # it keeps all lines
    second = next(values, None)
    if second is None:
        yield from _of_one([first])
    else:
        yield from chain([first, second], values)


def _of_one(records: list[Record]) -> Iterator[Record]:
    """Yield all rows of a file that is one value or one line."""
    rows = rows_of(records[0].raw) if len(records) == 1 else [record.raw for record in records]
    yield from (Record(records[0].number, raw) for raw in rows)


def _json_lines(lines: _Lines) -> Iterator[Record]:
    return drop_trailing_blanks(record for number, line in lines for record in _parse_line(number, line))


def _parse_line(number: int, line: bytes) -> list[Record]:
    """Return the value of a line, or its objects where there are several, or a comma after them."""
    if not line.strip():
        return [Record(number, None, EMPTY)]
    try:
        text = line.decode().rstrip("\r\n")
        return [Record(number, json.loads(text))]
    except UnicodeDecodeError as error:
        return [Record(number, None, not_utf8(error))]
    except json.JSONDecodeError as error:
        objects = _objects(number, line) if error.msg == "Extra data" else []
        return objects or [Record(number, None, f"broken JSON: {_reason(error)} at column {error.colno}")]
    except (ValueError, RecursionError) as error:
        return [Record(number, None, f"broken JSON: {error}")]


def _objects(number: int, line: bytes) -> list[Record]:
    """Return the objects that *line* consists of; none if there is anything else in it."""
    try:
        records = list(_values([(number, line)]))
    except Unreadable:
        return []
    return records if all(isinstance(record.raw, dict) for record in records) else []


def _reason(error: json.JSONDecodeError) -> str:
    """Return the reason in the words of what people write instead of JSON."""
    sign = error.doc[error.pos : error.pos + 1]
    if sign in ("}", "]") and error.doc[: error.pos].rstrip().endswith(","):
        return f"a comma before '{sign}'"
    if sign == "'":
        return "a single quote; JSON has double quotes"
    return error.msg


def _values(lines: _Lines) -> Iterator[Record]:
    """Yield the values of a text, and the elements of each array among them, one by one.

    Between values outside of an array, blanks, one comma or nothing are accepted; before the end of an
    array, a comma.

    Raises:
        Unreadable: the text is broken.
    """
    window = _Window(lines)
    inside = False
    while sign := window.next_sign():
        if sign == ("]" if inside else "["):
            inside = not inside
            window.skip()
            continue
        number = window.number
        yield Record(number, window.value())
        after = window.next_sign()
        if after == ",":
            window.skip()
        elif inside and after != "]":
            raise window.broken("expecting ',' or ']'", window.position)
    if inside:
        raise window.broken("the array has no end", window.position)


class _Window:
    """The part of a text that is being decoded; it grows by whole lines."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = iter(lines)
        self._text = ""
        self.position = 0
        self.number = 1
        """The line at ``position``."""

    def next_sign(self) -> str:
        """Move to the next sign that is not blank and return it; "" at the end."""
        while True:
            start = self.position
            while self.position < len(self._text) and self._text[self.position] in _BLANKS:
                self.position += 1
            self.number += self._text.count("\n", start, self.position)
            if self.position < len(self._text):
                return self._text[self.position]
            if not self._grow():
                return ""

    def skip(self) -> None:
        """Move over one sign."""
        self.position += 1

    def value(self) -> Any:
        """Decode the value at ``position``, and move behind it.

        Raises:
            Unreadable: it is broken.
        """
        while True:
            try:
                raw, end = _DECODER.raw_decode(self._text, self.position)
            except json.JSONDecodeError as error:
                ends_early = error.pos >= len(self._text.rstrip())
                if not (ends_early and self._grow()):
                    raise self.broken(_reason(error), error.pos) from None
            except (ValueError, RecursionError) as error:
                raise self.broken(str(error), self.position) from None
            else:
                self.number += self._text.count("\n", self.position, end)
                self.position = end
                return raw

    def broken(self, reason: str, position: int) -> Unreadable:
        """Return the error of a fault at *position* of the text."""
        number = self.number + self._text.count("\n", self.position, position)
        return Unreadable(number, f"broken JSON: {reason}; the rows from here on cannot be separated")

    def _grow(self) -> bool:
        """Drop what is decoded and double the rest, by one line at least; return False at the end."""
        kept = self._text[self.position :]
        parts, size = [kept], 0
        for number, line in self._lines:
            if not self._text:
                self.number = number
            try:
                parts.append(line.decode())
            except UnicodeDecodeError as error:
                raise Unreadable(number, not_utf8(error)) from None
            size += len(line)
            if size > len(kept):
                break
        self._text, self.position = "".join(parts), 0
        return size > 0


def _through_first_text(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield lines up to and including the first that is not blank."""
    for number, line in lines:
        yield number, line
        if line.strip():
            return
