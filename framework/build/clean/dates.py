"""Dates in English text and ISO 8601."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October"),
    *("November", "December"),
)
_NUMBERS = {name: number for number, name in enumerate(_MONTHS, 1)}
_NUMBERS |= {name[:3]: number for name, number in _NUMBERS.items()} | {"Sept": 9}
_SHORT = (*(name[:3] for name in _MONTHS), "Sept")
# The look-ahead spares most words the comparison with all names.
_MONTH = rf"(?=[ADFJMNOS])(?P<month>(?:{'|'.join(_MONTHS)})\b|(?:{'|'.join(_SHORT)})\b\.?)"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![\w-])(?P<year>\d{4})-(?P<number>\d{2})-(?P<day>\d{2})(?!\d)",
        r"(?<![\w./])(?P<one>\d{1,2})(?P<mark>[./])(?P<two>\d{1,2})(?P=mark)(?P<year>\d{4})(?![\w/])",
        rf"(?<![\w.,]){_DAY}(?: of)? {_MONTH}(?:,? (?P<year>\d{{4}})\b)?",
        rf"(?<!\w){_MONTH} {_DAY}(?!\w)(?:,? (?P<year>\d{{4}})\b)?",
        rf"(?<!\w){_MONTH},? (?P<year>\d{{4}})\b",
    )
)


@dataclass(frozen=True)
class Date:
    """A date of a text, or a part of one."""

    text: str
    year: int | None
    days: frozenset[tuple[int, int | None]]
    """Month and day; two where 3/4/2024 may be of March or April."""

    @property
    def keys(self) -> set[tuple[int | None, int, int | None]]:
        """Year, month and day as it says them."""
        return {(self.year, month, day) for month, day in self.days}

    @property
    def parts(self) -> set[tuple[int | None, int, int | None]]:
        """The keys of every date that it supports: its own, and those that leave out year or day."""
        return {
            (year, month, each)
            for month, day in self.days
            for year in (self.year, None)
            for each in (day, None)
        }


def dates(text: str) -> tuple[list[Date], str]:
    """Return the dates of *text*, and the text with a comma in the place of each."""
    found: list[Date] = []

    def taken(match: re.Match[str]) -> str:
        date = _date(match)
        if date is None:
            return match[0]
        found.append(date)
        return " , "

    for pattern in _PATTERNS:
        text = pattern.sub(taken, text)
    return found, text


def _date(match: re.Match[str]) -> Date | None:
    """Return the date; None if the numbers are none."""
    parts = match.groupdict()
    pairs: set[tuple[int, int | None]]
    if parts.get("one"):
        pairs = {(int(parts["one"]), int(parts["two"])), (int(parts["two"]), int(parts["one"]))}
    else:
        name = parts.get("month")
        month = _NUMBERS[name.rstrip(".")] if name else int(parts["number"])
        pairs = {(month, int(parts["day"]) if parts.get("day") else None)}
    days = {(month, day) for month, day in pairs if month <= 12 and (day is None or 1 <= day <= 31)}
    year = int(parts["year"]) if parts.get("year") else None
    return Date(match[0].strip(), year, frozenset(days)) if days else None


def numbers_of(date: Date) -> Iterator[int]:
    """Yield the numbers in a date, which a text may name alone, as in ``in 2024``."""
    if date.year is not None:
        yield date.year
    yield from (day for _, day in sorted(date.days, key=str) if day is not None)
