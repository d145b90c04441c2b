"""``clean=heuristics``: rows whose text does not look like text.

The rules of Gopher (Rae et al. 2021, appendix A) and C4 (Raffel et al. 2020, section 2.2), with their limits
where they suit rows of any length; a rule on shares is for texts of ``judged_from`` words and more.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.clean import Batch, Reason, RowClean
from framework.build.clean.row_texts import Part, texts_of
from framework.build.clean.word_ngrams import words_of
from framework.build.data.shards import SourcedRow
from framework.core.problem import Problem

_Share = Annotated[float, Field(gt=0, le=1)]
_BULLETS = ("•", "‣", "●", "- ", "* ")
_SYMBOL = re.compile(r"#|\.\.\.|…")
_Finding = tuple[str, str]
"""The name of the rule that a text breaks, and why."""


class Heuristics(RowClean):
    """Remove training rows by word counts, symbols, repetition and phrases of unfinished pages."""

    seconds_per_row: ClassVar[float] = 2e-4

    on: Part = "answer"
    """The texts that are judged, each by itself: what is learned, unless set."""
    min_words: Annotated[int, Field(ge=0)] = 1
    """Fewest words. Gopher's 50 are for documents."""
    max_words: Annotated[int, Field(ge=1)] = 100_000
    """Most words, as in Gopher."""
    judged_from: Annotated[int, Field(ge=1)] = 20
    """Words from which a text is long enough for the rules below; a shorter one passes them."""
    mean_word: tuple[float, float] = (2.0, 12.0)
    """Least and greatest mean length of a word in characters; Gopher's are 3 and 10. Texts in Chinese or
    Japanese characters are not judged by it."""
    max_symbols: _Share = 0.1
    """Most hash signs and ellipses, relative to words."""
    max_bullets: _Share = 0.9
    """Largest share of lines that begin with a bullet."""
    max_ellipses: _Share = 0.3
    """Largest share of lines that end with an ellipsis."""
    min_alphabetic: _Share = 0.6
    """Least share of words with a letter; Gopher's 0.8 removes tables of numbers, too."""
    max_repeated_lines: _Share = 0.3
    """Largest share of lines that repeat an earlier one."""
    max_top_ngram: tuple[float, float, float] = (0.2, 0.18, 0.16)
    """Largest shares of words in the most frequent 2-, 3- and 4-gram, if it is there more than twice."""
    max_repeated_ngrams: _Share = 0.3
    """Largest share of 5-grams that repeat an earlier one."""
    phrases: tuple[str, ...] = ("lorem ipsum", "javascript must be enabled", "please enable javascript")
    """A text with one of these, in any case, is removed, whatever its length. Plain text."""

    def problems(self) -> list[Problem]:
        """Return limits that no text can keep."""
        problems = []
        if self.min_words > self.max_words:
            problems.append(
                Problem("min_words", f"exceeds max_words={self.max_words}", (f"max_words={self.min_words}",))
            )
        if self.mean_word[0] > self.mean_word[1]:
            problems.append(Problem("mean_word", "the least exceeds the greatest", advice="swap them"))
        if any(not phrase.strip() for phrase in self.phrases):
            problems.append(Problem("phrases", "an empty text is in every row", advice="remove it"))
        return problems

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Remove rows with a text that breaks a rule."""
        kept, reasons = [], []
        for source in batch:
            broken = next(
                (found for text in texts_of(source.row, self.on) if (found := self._broken(text))), None
            )
            if broken is None:
                kept.append(source)
            else:
                reasons.append(Reason(source, *broken))
        return kept, reasons

    def _broken(self, text: str) -> _Finding | None:
        lowered = text.lower()
        for phrase in self.phrases:
            if phrase.lower() in lowered:
                return "phrase", f"contains '{phrase}'"
        words = words_of(text)
        if not self.min_words <= len(words) <= self.max_words:
            return "word_count", f"{len(words)} words; {self.min_words} to {self.max_words} are allowed"
        if len(words) < self.judged_from:
            return None
        for rule, value, limit in (*self._shape(text, words), *self._repetition(text, words)):
            if value > limit:
                return rule, f"{value:.2f}, more than {limit:g}"
        return None

    def _shape(self, text: str, words: list[str]) -> Iterator[tuple[str, float, float]]:
        """Yield each rule on symbols and words with the text's value and the greatest that is allowed."""
        least, greatest = self.mean_word
        mean = sum(map(len, words)) / len(words)
        if text.isascii() or sum(len(word) > 1 for word in words) > len(words) / 2:
            yield "long_words", mean, greatest
            yield "short_words", least - mean, 0.0
        yield "symbols", len(_SYMBOL.findall(text)) / len(words), self.max_symbols
        alphabetic = sum(word.isalpha() or any(map(str.isalpha, word)) for word in words) / len(words)
        yield "not_alphabetic", 1 - alphabetic, 1 - self.min_alphabetic
        lines = [line for line in map(str.strip, text.split("\n")) if line]
        yield "bullets", _share(lines, lambda line: line.startswith(_BULLETS)), self.max_bullets
        yield "ellipses", _share(lines, lambda line: line.endswith(("...", "…"))), self.max_ellipses

    def _repetition(self, text: str, words: list[str]) -> Iterator[tuple[str, float, float]]:
        lines = [line for line in map(str.strip, text.split("\n")) if line]
        yield "repeated_lines", 1 - len({*lines}) / len(lines), self.max_repeated_lines
        most = len(words)
        for length, limit in enumerate(self.max_top_ngram, 2):
            if most * length > limit * len(words):  # an n-gram is never there more often than a shorter one
                most = max(Counter(_grams(words, length)).values())
            yield f"top_{length}gram", most * length / len(words) if most > 2 else 0.0, limit
        grams = [*_grams(words, 5)]
        yield "repeated_5grams", 1 - len({*grams}) / len(grams), self.max_repeated_ngrams


def _grams(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[offset:] for offset in range(length)), strict=False)


def _share(lines: list[str], test: Callable[[str], bool]) -> float:
    return sum(map(test, lines)) / len(lines)
