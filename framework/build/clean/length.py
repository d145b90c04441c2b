"""``clean=length``: rows of a length that suits training, in tokens of the model."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr

from framework.build.clean import Batch, Reason, RowClean
from framework.build.clean.row_texts import Part, is_document, texts_of
from framework.build.data.shards import SourcedRow, to_json
from framework.core.errors import DataError
from framework.core.problem import Problem

_BOUNDARIES = tuple(map(re.compile, (r"\n\s*\n", r"\n", r"[.!?…](?=\s)|[。！？]", r"\s")))  # noqa: RUF001
"""Where a text is cut, best first: between paragraphs, lines, sentences, words."""
_JOINT = "\n\n"
_CHARACTERS = 16
"""Characters of a token, at most, in nearly all texts."""


class Length(RowClean):
    """Bring training rows to ``min_tokens`` to ``max_tokens``, counted by the model's tokenizer.

    Documents, which are rows of nothing but a text, can be split and merged: the text stays in its order, and
    rows of different files are not merged. Every other row that is too long or too short is removed. Tokens
    are those of the texts, without the chat template; ``data.max_length`` counts both.
    """

    needs_tokenizer: ClassVar[bool] = True
    seconds_per_row: ClassVar[float] = 3e-4

    on: Part = "all"
    """The texts whose tokens count, together."""
    min_tokens: Annotated[int, Field(ge=0)] = 0
    """Fewest tokens; 512 is usual for documents."""
    max_tokens: Annotated[int, Field(ge=8)] = 2048
    """Most tokens."""
    too_long: Literal["split", "reject"] = "split"
    """What is done with a longer document; it is cut between paragraphs, lines, sentences or words."""
    too_short: Literal["merge", "reject"] = "merge"
    """What is done with a shorter document. It is merged with the next ones of its file until they are long
    enough, as far as ``max_tokens`` allows; what is left stays."""

    _tokenizer: Any = PrivateAttr(None)

    def problems(self) -> list[Problem]:
        """Return limits that no row can keep."""
        if self.min_tokens > self.max_tokens:
            override = f"max_tokens={self.min_tokens}"
            return [Problem("min_tokens", f"exceeds max_tokens={self.max_tokens}", (override,))]
        return []

    def opened(self, rows: Path, tokenizer: Any) -> Self:
        """Return the option with the tokenizer.

        Raises:
            DataError: the tokenizer cannot say where a token begins, which splitting needs.
        """
        if self.too_long == "split" and not tokenizer.is_fast:
            raise DataError(
                "clean.length: this tokenizer does not tell where a token begins, so that rows cannot "
                "be split; set clean.length.too_long=reject"
            )
        copy = self.model_copy()
        copy._tokenizer = tokenizer
        return copy

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Remove, split and merge rows."""
        reasons: list[Reason] = []
        sized = [sized for source in batch for sized in self._within_most(source, reasons)]
        return [*self._merged(sized, reasons)], reasons

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _within_most(self, source: SourcedRow, reasons: list[Reason]) -> Iterator[tuple[SourcedRow, int]]:
        """Yield the row, or its parts, with the number of tokens of each; nothing where it is removed."""
        row = source.row
        tokens = sum(map(self._count, texts_of(row, self.on)))
        if tokens <= self.max_tokens:
            yield source, tokens
            return
        if not is_document(source) or self.too_long == "reject":
            why = f"{tokens} tokens, more than max_tokens={self.max_tokens}"
            reasons.append(Reason(source, "too_long", why))
            return
        parts = [replace(source, text=to_json({"text": part})) for part in self._split(row["text"])]
        reasons.append(Reason(source, "split", f"{tokens} tokens in {len(parts)} rows", parts[0]))
        yield from ((part, self._count(part.row["text"])) for part in parts)

    def _split(self, text: str) -> Iterator[str]:
        """Yield parts of *text*, each of at most ``max_tokens`` tokens, without white space around them."""
        start = 0
        while start < len(text):
            # All of a long text is not tokenized again for each part.
            window = text[start : start + _CHARACTERS * self.max_tokens]
            tokens = self._tokenizer(window, add_special_tokens=False, return_offsets_mapping=True)
            offsets = tokens["offset_mapping"]
            end = len(window)
            if len(offsets) > self.max_tokens:
                end = _boundary(window, max(offsets[self.max_tokens][0], 1))
            elif start + end < len(text):
                end = _boundary(window, end)
            # A part may have more tokens than the same characters in the whole, where a word is cut.
            while self._count(window[:end].strip()) > self.max_tokens:
                end = _boundary(window, end - 1)
            if part := window[:end].strip():
                yield part
            start += end

    def _merged(self, sized: list[tuple[SourcedRow, int]], reasons: list[Reason]) -> Iterator[SourcedRow]:
        """Yield the rows with short documents merged, and other short rows removed."""
        joint = self._count(_JOINT)
        waiting: list[SourcedRow] = []
        held = 0
        for source, tokens in sized:
            short = tokens < self.min_tokens
            document = is_document(source)
            if short and not (document and self.too_short == "merge"):
                why = f"{tokens} tokens, fewer than min_tokens={self.min_tokens}"
                reasons.append(Reason(source, "too_short", why))
                continue
            fits = document and held + joint + tokens <= self.max_tokens
            if waiting and not (fits and waiting[0].file == source.file):
                yield _joined(waiting, reasons)
                waiting, held = [], 0
            if not (short or waiting):
                yield source
                continue
            waiting.append(source)
            held += tokens + (joint if held else 0)
            if held >= self.min_tokens:
                yield _joined(waiting, reasons)
                waiting, held = [], 0
        if waiting:
            yield _joined(waiting, reasons)


def _boundary(text: str, limit: int) -> int:
    """Return where to cut *text*: at the last boundary of the best kind in the second half before *limit*."""
    for pattern in _BOUNDARIES:
        if matches := [*pattern.finditer(text, limit // 2, limit)]:
            return matches[-1].end()
    return limit


def _joined(parts: list[SourcedRow], reasons: list[Reason]) -> SourcedRow:
    """Return the documents as one row, which has the place of the first."""
    if len(parts) == 1:
        return parts[0]
    text = to_json({"text": _JOINT.join(part.row["text"] for part in parts)})
    joined = replace(parts[0], text=text)
    reasons += [Reason(part, "merged", f"with {len(parts) - 1} others", joined) for part in parts]
    return joined
