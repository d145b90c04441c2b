"""``clean=entities``: answers with a number, unit, date or name that is in no source of their row."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from framework.build.clean import Batch, Reason, RowClean
from framework.build.clean.dates import Date, dates, numbers_of
from framework.build.clean.quantities import Quantities, Quantity, in_digits, quantities
from framework.build.clean.word_ngrams import words_of
from framework.build.data.row import Row
from framework.build.data.shards import SourcedRow

Kind = Literal["number", "unit", "date", "name"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_Finding = tuple[Kind, str]

_NAMED = r"[^\W\d_a-zß-ÿ][\w'’]{1,40}(?:-\w{1,40}){0,3}"  # noqa: RUF001
_NAME = re.compile(rf"(?<!\w){_NAMED}(?:[ ]{_NAMED}){{0,7}}")
_START = re.compile(r"(?:^|[.!?:;\n\"“”(*•>#|-])[ \t]*$")
_LISTED = re.compile(r"^[ \t]{0,20}\d{1,3}[.)][ \t]", re.MULTILINE)
_BEFORE = 24
"""Characters that are looked at to tell the beginning of a sentence."""


class Entities(RowClean):
    """Remove rows whose answer has a number, unit, date or name that is in none of the turns before it.

    It is for answers that must come from their sources: summaries, extraction, questions about a document.
    An answer that calculates or knows more than its prompt is removed, too. The rules know digits, dates and
    units as English writes them, and names by their capital letters; see docs/data.md.
    """

    seconds_per_row: ClassVar[float] = 4e-4

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = KINDS
    """What is compared. Leave out ``name`` for German, which capitalizes every noun."""
    max_unsupported: Annotated[int, Field(ge=0)] = 0
    """Most entities of an answer that are in no source."""
    judged_from: Annotated[int, Field(ge=0)] = 30
    """Words of the turns before an answer from which it is judged; fewer are a question without a source."""
    counts_to: Annotated[int, Field(ge=0)] = 10
    """Whole numbers without a unit up to this one are not judged: they count points and steps."""

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Remove rows with entities that are in no source."""
        kept, reasons = [], []
        for source in batch:
            found = [
                finding for answer, sources in _answers(source.row) for finding in self._in(answer, sources)
            ]
            if len(found) <= self.max_unsupported:
                kept.append(source)
            else:
                why = "; ".join(text for _, text in found[:5])
                reasons.append(Reason(source, f"entity_{found[0][0]}", why))
        return kept, reasons

    def _in(self, answer: str, sources: Sequence[str]) -> Iterator[_Finding]:
        text = "\n".join(sources)
        if len(words_of(text)) < self.judged_from:
            return
        known = _Known(text)
        said, rest = dates(_LISTED.sub("", answer))
        for kind, why in (*_dates(said, known), *self._numbers(rest, known), *_names(rest, known)):
            if kind in self.kinds:
                yield kind, why

    def _numbers(self, answer: str, known: "_Known") -> Iterator[_Finding]:
        for number in quantities(answer):
            if (number.counts and 0 <= number.value <= self.counts_to) or known.numbers.say(number):
                continue
            other = known.numbers.same_number(number)
            if other is None:
                yield "number", f"'{number.text}' is in no source"
            else:
                yield "unit", f"'{number.text}' is '{other}' in a source"


@dataclass(frozen=True)
class _Known:
    """What the sources of an answer say."""

    text: str

    @cached_property
    def _parts(self) -> tuple[list[Date], str]:
        return dates(self.text)

    @cached_property
    def dates(self) -> set[tuple[int | None, int, int | None]]:
        """The keys of all dates that they support."""
        return {key for date in self._parts[0] for key in date.parts}

    @cached_property
    def numbers(self) -> Quantities:
        """Their numbers, also those in dates and in words."""
        found, rest = self._parts
        parts = (Quantity(str(number), float(number), 1.0) for date in found for number in numbers_of(date))
        return Quantities([*quantities(in_digits(rest)), *parts])

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(words_of(self.text))

    @cached_property
    def initials(self) -> frozenset[str]:
        """The first letters of its names: ``un`` of the United Nations."""
        names = (match[0].split() for match in _NAME.finditer(self.text))
        return frozenset("".join(word[0] for word in name).lower() for name in names if len(name) > 1)


def _dates(said: Sequence[Date], known: _Known) -> Iterator[_Finding]:
    for date in said:
        if not date.keys & known.dates:
            yield "date", f"the date '{date.text}' is in no source"


def _names(answer: str, known: _Known) -> Iterator[_Finding]:
    """Yield names of *answer* with a word that is in no source.

    The first word of a sentence may be any word, so it is no name unless the answer is nothing but a name of
    several words.
    """
    only = answer.strip().rstrip(".")
    alone = " " in only and _NAME.fullmatch(only)
    for match in _NAME.finditer(answer):
        words = match[0].split()
        letters = "".join(word[0] for word in words).lower()
        if not alone and _START.search(answer[max(match.start() - _BEFORE, 0) : match.start()]):
            words = words[1:]
        if len(letters) > 1 and letters in known.words:
            continue
        new = [word for word in words if not _known(word, known)]
        if new:
            yield "name", f"the name '{' '.join(words)}' is in no source"


def _known(word: str, known: _Known) -> bool:
    word = re.sub(r"['’]s?$", "", word)  # noqa: RUF001
    return word.lower() in known.initials or all(part in known.words for part in words_of(word))


def _answers(row: Row) -> Iterator[tuple[str, list[str]]]:
    """Yield each answer that is learned, with the texts of the turns before it that are none."""
    sources: list[str] = []
    for turn in row.get("messages", []):
        if turn["role"] == "assistant" and turn.get("train", True):
            yield turn["content"], sources
        else:
            sources.append(turn["content"])
