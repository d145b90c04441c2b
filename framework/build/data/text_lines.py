"""Lines of a text file as UTF-8, however the file is compressed, encoded and its lines end.

gzip, bzip2, xz and Zstandard are recognized by their first bytes, and UTF-16 and UTF-32 by a byte order mark
or by their zero bytes. It knows no format of rows.
"""

import bz2
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from framework.build.data.raw_rows import Unreadable

_WINDOW = 2**16
_FIRST_END = re.compile(rb"\r*\n|\r+")
_MAGIC: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": lambda file: _open_zstandard(file),
    b"PK\x03\x04": lambda file: _refuse_archive(),
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes of compressed files, which are ignored in choosing a format."""


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    r"""Yield the lines of *path* with their ends, from 1, in UTF-8 without a byte order mark.

    A line ends in ``\n``. Where the first line ends in a lone ``\r``, as on old Macs, every ``\r`` ends one
    too and becomes ``\n``. Bytes that are not UTF-8 are left as they are. One line is in memory at a time,
    with buffers of 64 KiB.

    Raises:
        Unreadable: the file is truncated, an archive, or not valid in its encoding.
    """
    number = 0
    try:
        with io.BufferedReader(path.open("rb", buffering=0), _WINDOW) as file:
            for number, line in enumerate(_lines(_decompressed(file)), 1):
                yield number, line
    except UnicodeDecodeError as error:
        raise Unreadable(number + 1, f"not valid {error.encoding}; save the file as UTF-8") from None
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise Unreadable(
            number + 1, f"cannot be read from here on ({error}); the file may be truncated"
        ) from None


def _decompressed(file: "io.BufferedReader[Any]") -> "io.BufferedReader[Any]":
    head = file.peek(8)
    for magic, opened in _MAGIC.items():
        if head.startswith(magic):
            return io.BufferedReader(opened(file), _WINDOW)
    return file


def _lines(stream: "io.BufferedReader[Any]") -> Iterator[bytes]:
    window = stream.peek(_WINDOW)
    encoding = json.detect_encoding(window[:4])  # of any text that begins with two ASCII characters
    plain = encoding in ("utf-8", "utf-8-sig")
    end = _FIRST_END.search(window.replace(b"\x00", b""))
    universal = end is not None and not end[0].endswith(b"\n")
    if plain and not universal:
        for number, line in enumerate(stream):
            yield line if number else line.removeprefix(b"\xef\xbb\xbf")
        return
    errors = "surrogateescape" if plain else "strict"
    newline = None if universal else "\n"
    with io.TextIOWrapper(stream, encoding, errors, newline) as texts:
        for text in texts:
            yield text.removeprefix("\ufeff").encode("utf-8", "surrogateescape")


def _open_zstandard(file: "io.BufferedReader[Any]") -> Any:
    try:
        import pyarrow
    except ImportError:
        raise Unreadable(None, "reading Zstandard needs pyarrow; `pip install pyarrow`") from None
    return pyarrow.CompressedInputStream(file, "zstd")


def _refuse_archive() -> Any:
    raise Unreadable(None, "a zip archive or an Excel workbook; unpack it, or save the sheet as 'CSV UTF-8'")
