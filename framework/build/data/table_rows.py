"""Rows of CSV and TSV files: a header line, then one record per row.

It does not know what a row means.
"""

import csv
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from framework.build.data.raw_rows import EMPTY, Record, Unreadable, drop_trailing_blanks, not_utf8
from framework.build.data.text_lines import numbered_lines

_QUOTED = re.compile(rb'"[^"]*"')
_SEPARATOR = re.compile(rb'"?sep=([^"\r\n])"?\s*', re.IGNORECASE)


def read_csv(path: Path) -> Iterator[Record]:
    """Read rows under one header line; quoted fields may span lines.

    Fields are separated by commas. Where the header has none, it decides for semicolons or tabs; Excel's
    first line ``sep=;`` decides too.
    """
    return drop_trailing_blanks(_records(path, (",", ";", "\t")))


def read_tsv(path: Path) -> Iterator[Record]:
    """Read tab-separated rows, quoted as in CSV."""
    return drop_trailing_blanks(_records(path, ("\t",)))


def _records(path: Path, delimiters: tuple[str, ...]) -> Iterator[Record]:
    lines = numbered_lines(path)
    blanks = []
    for _, line in lines:
        blanks.append(line)
        if line.strip():
            break
    if not blanks:
        return
    if match := _SEPARATOR.fullmatch(blanks[-1]):
        blanks[-1] = b"\n"
        delimiters = (match[1].decode("latin-1"),)
    outside = _QUOTED.sub(b"", blanks[-1])
    delimiter = next((sign for sign in delimiters if sign.encode("latin-1") in outside), delimiters[0])
    yield from _parse(chain(blanks, (line for _, line in lines)), delimiter)


def _parse(lines: Iterator[bytes], delimiter: str) -> Iterator[Record]:
    """Read delimited records. Bytes that are not UTF-8 become lone surrogates; ``_row`` finds them."""
    csv.field_size_limit(sys.maxsize)  # a field may be a whole document
    latest = ""

    def texts() -> Iterator[str]:
        nonlocal latest
        for line in lines:
            latest = line.decode("utf-8", "surrogateescape")
            yield latest

    reader = csv.reader(texts(), delimiter=delimiter, strict=True)
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
                    f"a quote opened here is not closed properly ({error}, line {reader.line_num}"
                    f"{_escapes(latest)}); the rows in between cannot be separated",
                ) from None
            yield Record(first, None, f"broken quoting: {error}{_escapes(latest)}")
            continue
        blank = not any(cell.strip() for cell in cells)
        if not header:
            header = [] if blank else _header(first, cells)
        elif blank:
            yield Record(first, None, EMPTY)
        else:
            yield _row(first, header, cells)


def _escapes(line: str) -> str:
    """Return what to do about quotes that a backslash escapes, as MySQL and some exports write them."""
    return r'; \" does not escape a quote in CSV: double it ("")' if r"\"" in line else ""


def _header(number: int, cells: list[str]) -> list[str]:
    if problem := _encoding_problem(cells):
        raise Unreadable(number, f"the header is {problem}")
    names = [cell.strip() for cell in cells]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise Unreadable(
            number, f"the header has {', '.join(map(repr, duplicates))} more than once; rename the others"
        )
    return names


def _row(number: int, header: list[str], cells: list[str]) -> Record:
    if len(cells) != len(header):
        return Record(number, None, f"{len(cells)} fields, but the header has {len(header)}")
    if problem := _encoding_problem(cells):
        return Record(number, None, problem)
    return Record(number, dict(zip(header, cells, strict=True)))


def _encoding_problem(cells: list[str]) -> str | None:
    try:
        "".join(cells).encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError as error:
        return not_utf8(error)
    return None
