"""A reader for each file format: raw rows one by one, with the line on which each begins.

It does not know what a row means; see ``row_formats``. A row that cannot be read becomes a ``Record``
with its problem. ``Unreadable`` is raised only where one fault hides an unknown number of rows.
"""

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple


class Unreadable(Exception):
    """A fault at line *number*, or of the whole file if None, that hides all rows after it."""

    def __init__(self, number: int | None, reason: str) -> None:
        super().__init__(reason)
        self.number = number


class Record(NamedTuple):
    """The raw row that begins on line *number*, from 1, or the problem with it."""

    number: int
    raw: Any
    problem: str | None = None


def read_jsonl(path: Path) -> Iterator[Record]:
    """Read one JSON value per line. A blank line is a broken row, except at the end of the file."""
    return _drop_trailing_blanks(_parse_json(number, line) for number, line in _lines(path))


def read_json(path: Path) -> Iterator[Record]:
    """Read a JSON array of rows, or JSON Lines in a file that ends in ``.json``.

    The text of an array is in memory as a whole while its rows are decoded one by one; use JSON Lines
    for large data.

    Raises:
        Unreadable: the array is broken, so that the rows after the fault cannot be separated.
    """
    lines = _lines(path)
    head = list(_through_first_text(lines))
    if not head or not head[-1][1].lstrip().startswith(b"["):
        yield from read_jsonl(path)
        return
    body = b"".join(line for _, line in chain(head, lines))
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        number = body.count(b"\n", 0, error.start) + 1
        raise Unreadable(number, "not UTF-8; save the file as UTF-8") from None
    yield from _parse_array(text)


def read_csv(path: Path) -> Iterator[Record]:
    """Read comma-separated rows under one header line; quoted fields may span lines."""
    return _table(path, ",")


def read_tsv(path: Path) -> Iterator[Record]:
    """Read tab-separated rows, quoted as in CSV."""
    return _table(path, "\t")


def read_text(path: Path) -> Iterator[Record]:
    """Read plain text: each paragraph, up to the next blank line, is a ``text`` row."""
    start, paragraph = 0, b""
    for number, line in chain(_lines(path), [(0, b"")]):
        if line.strip():
            start, paragraph = start or number, paragraph + line.rstrip(b"\r\n") + b"\n"
        elif paragraph:
            yield _parse_paragraph(start, paragraph)
            start, paragraph = 0, b""


def read_parquet(path: Path) -> Iterator[Record]:
    """Read a Parquet file batch by batch; a record's number is the row's, from 1.

    Raises:
        Unreadable: pyarrow is not installed, or the file is not a complete Parquet file.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise Unreadable(None, "reading Parquet needs pyarrow; `pip install pyarrow`") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for raw in batch.to_pylist():
                    number += 1
                    yield Record(number, raw)
    except (pyarrow.ArrowException, OSError) as error:
        raise Unreadable(number + 1, f"not a complete Parquet file: {error}") from None


_EMPTY = "empty line"
Reader = Callable[[Path], Iterator[Record]]
READERS: dict[str, Reader] = {
    "jsonl": read_jsonl,
    "ndjson": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "tsv": read_tsv,
    "txt": read_text,
    "parquet": read_parquet,
}
"""Readers by file suffix. All except Parquet's also read gzipped files, whose suffix ``.gz`` is ignored."""


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines with their line ends; decompress gzip and drop a byte order mark."""
    number = 0
    try:
        with path.open("rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            stream: Iterable[bytes] = gzip.GzipFile(fileobj=file) if zipped else file
            for number, line in enumerate(stream, 1):
                yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except (EOFError, zlib.error, OSError) as error:
        raise Unreadable(
            number + 1, f"cannot be read from here on ({error}); the file may be truncated"
        ) from None


def _through_first_text(lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield lines up to and including the first that is not blank."""
    for number, line in lines:
        yield number, line
        if line.strip():
            return


def _parse_json(number: int, line: bytes) -> Record:
    if not line.strip():
        return Record(number, None, _EMPTY)
    try:
        return Record(number, json.loads(line.rstrip(b"\r\n").decode()))
    except UnicodeDecodeError as error:
        return Record(number, None, _not_utf8(error))
    except json.JSONDecodeError as error:
        return Record(number, None, f"broken JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Record(number, None, f"broken JSON: {error}")


def _parse_paragraph(number: int, paragraph: bytes) -> Record:
    try:
        return Record(number, {"text": paragraph.decode().removesuffix("\n")})
    except UnicodeDecodeError as error:
        return Record(number, None, _not_utf8(error))


def _not_utf8(error: UnicodeDecodeError) -> str:
    return (
        f"not UTF-8: byte 0x{error.object[error.start]:02x} at byte {error.start + 1}; save the file as UTF-8"
    )


def _parse_array(text: str) -> Iterator[Record]:
    """Decode the elements of a JSON array one by one."""
    decoder, number, counted = json.JSONDecoder(), 1, 0
    position = _skip_blanks(text, _skip_blanks(text, 0) + 1)
    while text[position : position + 1] != "]":
        number, counted = number + text.count("\n", counted, position), position
        try:
            raw, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _broken_array(text, error.pos, error.msg) from None
        except (ValueError, RecursionError) as error:
            raise _broken_array(text, position, str(error)) from None
        yield Record(number, raw)
        position = _skip_blanks(text, position)
        if text[position : position + 1] == ",":
            position = _skip_blanks(text, position + 1)
        elif text[position : position + 1] != "]":
            raise _broken_array(text, position, "expecting ',' or ']'")
    if text[position + 1 :].strip():
        raise _broken_array(text, _skip_blanks(text, position + 1), "text after the array's end")


def _broken_array(text: str, position: int, reason: str) -> Unreadable:
    number = text.count("\n", 0, position) + 1
    return Unreadable(number, f"broken JSON array: {reason}; the rows from here on cannot be separated")


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _drop_trailing_blanks(records: Iterator[Record]) -> Iterator[Record]:
    pending: list[Record] = []
    for record in records:
        pending.append(record)
        if record.problem != _EMPTY:
            yield from pending
            pending.clear()


def _table(path: Path, delimiter: str) -> Iterator[Record]:
    return _drop_trailing_blanks(_parse_table(path, delimiter))


def _parse_table(path: Path, delimiter: str) -> Iterator[Record]:
    """Read delimited records. Bytes that are not UTF-8 become lone surrogates; ``_table_row`` finds them."""
    csv.field_size_limit(sys.maxsize)  # a field may be a whole document
    lines = (line.decode("utf-8", "surrogateescape") for _, line in _lines(path))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num > first or "end of data" in str(error):
                raise Unreadable(
                    first,
                    f"a quote opened here is not closed properly ({error}, line {reader.line_num}); "
                    "the rows in between cannot be separated",
                ) from None
            yield Record(first, None, f"broken quoting: {error}")
            continue
        if not any(cell.strip() for cell in cells):
            yield Record(first, None, _EMPTY)
        elif header:
            yield _table_row(first, header, cells)
        else:
            header = _table_header(first, cells)


def _table_header(number: int, cells: list[str]) -> list[str]:
    if not _is_unicode(cells):
        raise Unreadable(number, "the header is not UTF-8; save the file as UTF-8")
    names = [cell.strip() for cell in cells]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise Unreadable(
            number, f"the header has {', '.join(map(repr, duplicates))} more than once; rename the others"
        )
    return names


def _table_row(number: int, header: list[str], cells: list[str]) -> Record:
    if len(cells) != len(header):
        return Record(number, None, f"{len(cells)} fields, but the header has {len(header)}")
    if not _is_unicode(cells):
        return Record(number, None, "not UTF-8; save the file as UTF-8")
    return Record(number, dict(zip(header, cells, strict=True)))


def _is_unicode(cells: list[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True
