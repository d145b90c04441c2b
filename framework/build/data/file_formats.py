"""A reader for each file format: raw rows one by one, with the line on which each begins.

It does not know what a row means; see ``row_formats``. A row that cannot be read becomes a ``Record``
with its problem. ``Unreadable`` is raised only where one fault hides an unknown number of rows.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from framework.build.data.json_rows import read_json
from framework.build.data.raw_rows import Record, Unreadable, not_utf8
from framework.build.data.table_rows import read_csv, read_tsv
from framework.build.data.text_lines import COMPRESSED, numbered_lines

_BATCH = 1024
"""Rows that are Python objects at one time."""
_ARROW_FILE = b"ARROW1"
"""What a file of Arrow's file format begins with; one of its stream format does not."""


def read_text(path: Path) -> Iterator[Record]:
    """Read plain text: each paragraph, up to the next blank line, is a ``text`` row."""
    start, paragraph = 0, b""
    for number, line in chain(numbered_lines(path), [(0, b"")]):
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
    return _rows(path, "Parquet", _parquet_batches)


def read_arrow(path: Path) -> Iterator[Record]:
    """Read an Arrow stream or file batch by batch; a record's number is the row's, from 1.

    Raises:
        Unreadable: pyarrow is not installed, or the file is not a complete Arrow file.
    """
    return _rows(path, "Arrow", _arrow_batches)


def _rows(path: Path, kind: str, batches: Callable[[Path], Iterator[Any]]) -> Iterator[Record]:
    try:
        import pyarrow
    except ImportError:
        raise Unreadable(None, f"reading {kind} needs pyarrow; `pip install pyarrow`") from None
    number = 0
    try:
        for batch in batches(path):
            for raw in batch.to_pylist():
                number += 1
                yield Record(number, raw)
    except (pyarrow.ArrowException, OSError) as error:
        raise Unreadable(number + 1, f"not a complete {kind} file: {error}") from None


def _parquet_batches(path: Path) -> Iterator[Any]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_BATCH)


def _arrow_batches(path: Path) -> Iterator[Any]:
    import pyarrow

    with pyarrow.memory_map(str(path)) as file:
        if file.read(len(_ARROW_FILE)) == _ARROW_FILE:
            reader = pyarrow.ipc.open_file(file)
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            file.seek(0)
            batches = pyarrow.ipc.open_stream(file)
        for batch in batches:
            yield from (batch.slice(start, _BATCH) for start in range(0, batch.num_rows, _BATCH))


Reader = Callable[[Path], Iterator[Record]]
READERS: dict[str, Reader] = {
    "jsonl": read_json,
    "ndjson": read_json,
    "json": read_json,
    "csv": read_csv,
    "tsv": read_tsv,
    "txt": read_text,
    "parquet": read_parquet,
    "arrow": read_arrow,
}
"""Readers by file suffix. Those of text also read compressed files, see ``text_lines``."""

_INSTEAD = {
    "md": "set data.format=txt to learn its paragraphs",
    "xlsx": "save the sheet as 'CSV UTF-8'",
    "xls": "save the sheet as 'CSV UTF-8'",
    "zip": "unpack it and set data.train to the folder",
    "tar": "unpack it and set data.train to the folder",
    "tgz": "unpack it and set data.train to the folder",
}


def suffix_of(name: str) -> str:
    """Return the last suffix in lower case, without its dot; that of a compression is ignored.

    >>> suffix_of("rows.JSONL.gz")
    'jsonl'
    """
    lower = name.lower()
    for compressed in COMPRESSED:
        lower = lower.removesuffix(compressed)
    return lower.rpartition("/")[2].rpartition(".")[2]


def unknown_suffix(name: str) -> str:
    """Return the problem of a file whose suffix has no reader."""
    instead = _INSTEAD.get(suffix_of(name), "set data.format=<format>")
    return f"{name}: unknown suffix, should be one of {', '.join(READERS)}; {instead}"


def _parse_paragraph(number: int, paragraph: bytes) -> Record:
    try:
        return Record(number, {"text": paragraph.decode().removesuffix("\n")})
    except UnicodeDecodeError as error:
        return Record(number, None, not_utf8(error))
