"""``clean=substring``: passages that an earlier row has word for word.

Exact substring deduplication (Lee et al. 2022, "Deduplicating Training Data Makes Language Models Better"),
by hashes of all windows in the place of a suffix array, which would need nine times the corpus in memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr

from framework.build.clean import Batch, CorpusClean, Removal
from framework.build.clean.column_files import PACKAGES, opened_columns, records
from framework.build.clean.row_texts import Part, is_document, texts_of
from framework.build.clean.text_windows import RepeatFilter, windows_of
from framework.build.data.shards import SourcedRow, in_shards, read_shards, to_json
from framework.core.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_WINDOWS = """
    create table windows as select number, unnest(hashes) as hash, unnest(places) as place from columns
"""
_REPEATED = """
    create table repeated as select number, place, first from (
        select number, place, first_value(number) over alike as first, row_number() over alike as position
        from windows window alike as (partition by hash order by number, place)
    ) where position > 1
"""
_SPANS = """
    with islands as (
        select number, place, first, place - row_number() over (partition by number order by place) as island
        from repeated
    ), spans as (
        select number, min(place) as start, max(place) as last, min_by(first, place) as first
        from islands group by number, island
    )
    select spans.number, start, last, here.characters, here.document, there.file, there.line
    from spans join columns as here on here.number = spans.number
    join columns as there on there.number = spans.first
    order by spans.number, start
"""


@dataclass(frozen=True)
class _Cut(Removal):
    """A row that loses passages."""

    spans: tuple[tuple[int, int], ...]
    """Start and end of each, in characters of its text; in order, apart from each other."""


class Substring(CorpusClean):
    """Cut or remove what repeats ``length`` characters or more of an earlier place in the training rows.

    Every such passage is found, wherever it begins, also within one row; its first occurrence stays. Of two
    different windows one is taken for the other with a probability of 3e-4 among a hundred million.
    """

    seconds_per_row: ClassVar[float] = 1.6e-4

    on: Part = "answer"
    """The texts that are compared. With ``all``, a system prompt that rows share is a repeat."""
    length: Annotated[int, Field(ge=20)] = 200
    """Least characters of a repeat. Some 50 tokens, as in the paper; short ones are quotes and phrases."""
    action: Literal["cut", "drop"] = "cut"
    """``cut``: a document, which is a row of nothing but a text, loses its repeats; a line break marks where.
    Every other row is treated as with ``drop``: it is removed if ``max_share`` of it is repeated."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of repeated characters from which a row is removed that is not cut."""
    min_left: Annotated[int, Field(ge=1)] = 50
    """Characters that must be left of a cut document, else it is removed."""

    _filter: RepeatFilter | None = PrivateAttr(None)

    def requires(self) -> Mapping[str, str]:
        """Return the packages that compare."""
        return PACKAGES

    def opened(self, rows: Path, tokenizer: Any) -> Self:
        """Return the option with a filter of the windows that are there once, which are nearly all."""
        size = sum(file.stat().st_size for file in (rows / "train").glob("*.jsonl"))
        seen = RepeatFilter(size)
        for batch in in_shards(read_shards(rows, "train"), lambda row: len(row.text)):
            texts = [text for source in batch for text in texts_of(source.row, self.on)]
            for windows in windows_of(texts, self.length):
                seen.add(windows.hashes)
        copy = self.model_copy()
        copy._filter = seen.packed()
        return copy

    def columns(self, batch: Batch) -> "Mapping[str, pa.Array]":
        """Return hashes and places of each row's windows that may be repeated, its size and kind."""
        import numpy as np
        import pyarrow as pa

        if self._filter is None:
            raise DataError("clean.substring: columns needs the filter; call it on what opened() returns")
        rows = [texts_of(source.row, self.on) for source in batch]
        texts = [text for row in rows for text in row]
        owners = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        sizes = np.array([len(text) for text in texts], np.int64)
        totals = np.bincount(owners, sizes, minlength=len(rows)).astype(np.int64)
        before = np.cumsum(sizes) - sizes - (np.cumsum(totals) - totals)[owners]
        kept = [each.where(self._filter.repeated(each.hashes)) for each in windows_of(texts, self.length)]
        numbers = np.concatenate([np.zeros(0, np.int64), *(each.texts for each in kept)])
        places = np.concatenate([np.zeros(0, np.int64), *(each.places for each in kept)]) + before[numbers]
        hashes = np.concatenate([np.zeros(0, np.uint64), *(each.hashes for each in kept)])
        counts = np.bincount(owners[numbers], minlength=len(rows))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return {
            "hashes": pa.LargeListArray.from_arrays(offsets, hashes),
            "places": pa.LargeListArray.from_arrays(offsets, places),
            "characters": pa.array(totals),
            "document": pa.array([is_document(source) for source in batch]),
        }

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield the rows that are removed or cut."""
        with opened_columns(folder) as connection:
            connection.execute(_WINDOWS)
            connection.execute(_REPEATED)
            for number, found in groupby(records(connection, _SPANS), itemgetter(0)):
                rows = [*found]
                _, _, _, characters, document, file, line = rows[0]
                spans = _joined([(start, last + self.length) for _, start, last, *_ in rows])
                covered = sum(end - start for start, end in spans)
                others = " and others" if len({row[5:] for row in rows}) > 1 else ""
                why = f"{covered} of {characters} characters repeat {file}:{line}{others}"
                if self.action == "cut" and document:
                    yield _Cut(number, "substring", why, tuple(spans))
                elif covered >= self.max_share * characters:
                    yield Removal(number, "substring", why)

    def result(self, source: SourcedRow, removal: Removal) -> SourcedRow | None:
        """Return the document without its repeats; None if too little is left, or it is not cut."""
        if not isinstance(removal, _Cut):
            return None
        text, parts, start = source.row["text"], [], 0
        for begin, end in (*removal.spans, (len(source.row["text"]), 0)):
            parts.append(text[start:begin].strip())
            start = end
        left = "\n".join(part for part in parts if part)
        return replace(source, text=to_json({"text": left})) if len(left) >= self.min_left else None


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *spans*, which are in order, with those that touch as one."""
    joined = [spans[0]]
    for start, end in spans[1:]:
        if start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined
