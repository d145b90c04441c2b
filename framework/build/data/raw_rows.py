"""What every file reader returns, and the one error that stops it."""

from collections.abc import Iterator
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


EMPTY = "empty line"


def not_utf8(error: UnicodeDecodeError) -> str:
    """Return the problem of a text that is not UTF-8, with the character that Windows-1252 has there."""
    byte = error.object[error.start : error.start + 1]
    meant = byte.decode("cp1252", "ignore")
    guess = f" ({meant!r} in Windows-1252)" if meant.isprintable() and meant else ""
    return (
        f"not UTF-8: byte 0x{byte.hex()}{guess} at byte {error.start + 1}; save the file as UTF-8, "
        "in Excel as 'CSV UTF-8'"
    )


def drop_trailing_blanks(records: Iterator[Record]) -> Iterator[Record]:
    """Leave out the empty lines at the end of a file."""
    pending: list[Record] = []
    for record in records:
        pending.append(record)
        if record.problem != EMPTY:
            yield from pending
            pending.clear()
