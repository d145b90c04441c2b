"""``clean=decontaminate``: training rows that give away test rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, PrivateAttr

from framework.build.clean import Batch, Reason, RowClean
from framework.build.clean.row_texts import Part, comparable
from framework.build.clean.word_ngrams import hash_ngrams, words_of
from framework.build.data.shards import SourcedRow, in_shards, read_shards
from framework.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class _TestRows:
    """The n-grams of the test rows: 12 bytes each."""

    hashes: "np.ndarray"
    """Sorted, one for each pair of an n-gram and a test row that has it."""
    rows: "np.ndarray"
    """The test row of each pair."""
    sizes: "np.ndarray"
    """Different n-grams of each test row."""
    places: list[str]


class Decontaminate(RowClean):
    """Remove training rows that contain a large part of a test row, as the overlap of word n-grams.

    The n-gram overlap of GPT-3 (Brown et al. 2020, appendix C), counted for each test row. N-grams of more
    than ``common_in`` test rows are a template and say nothing.
    """

    seconds_per_row: ClassVar[float] = 1e-4

    on: Part = "all"
    """The texts of both rows that are compared."""
    words: Annotated[int, Field(ge=2, le=50)] = 8
    """Words of an n-gram. Rows with fewer words are not compared: ``data.max_overlap`` is for equal rows."""
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The share of a test row's n-grams from which a training row that has them is removed."""
    common_in: Annotated[int, Field(ge=1)] = 10
    """Test rows up to which an n-gram counts."""

    _test_rows: _TestRows | None = PrivateAttr(None)

    def requires(self) -> Mapping[str, str]:
        """Return the packages that hash."""
        return {"pyarrow": "clean", "xxhash": "clean"}

    def opened(self, rows: Path, tokenizer: Any) -> Self:
        """Return the option with the n-grams of the test rows."""
        copy = self.model_copy()
        copy._test_rows = self._read(rows)
        return copy

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Remove contaminated rows."""
        if self._test_rows is None:
            raise DataError(
                "clean.decontaminate: apply needs the test rows; call it on what opened() returns"
            )
        worst = self._overlaps(batch, self._test_rows)
        kept, reasons = [], []
        for number, source in enumerate(batch):
            if number not in worst:
                kept.append(source)
                continue
            share, place = worst[number]
            why = f"has {share:.0%} of the runs of {self.words} words of the test row {place}"
            reasons.append(Reason(source, "decontaminate", why))
        return kept, reasons

    def _read(self, folder: Path) -> _TestRows:
        import numpy as np

        pairs, places = [np.zeros((0, 2), np.uint64)], list[str]()
        for batch in in_shards(read_shards(folder, "test"), lambda row: len(row.text)):
            pairs.append(self._pairs(batch, len(places)))
            places += [f"{row.file}:{row.line}" for row in batch]
        every = np.concatenate(pairs)
        sizes = np.bincount(every[:, 1].astype(np.int64), minlength=len(places))
        every = every[np.lexsort((every[:, 1], every[:, 0]))]
        _, inverse, counts = np.unique(every[:, 0], return_inverse=True, return_counts=True)
        rare = every[counts[inverse] <= self.common_in]
        return _TestRows(rare[:, 0], rare[:, 1].astype(np.int64), sizes, places)

    def _pairs(self, batch: Batch, first: int) -> "np.ndarray":
        """Return each different n-gram of each row, with the row's number from *first*."""
        import numpy as np

        words = [words_of(comparable(source.row, self.on)) for source in batch]
        long = [number for number, each in enumerate(words) if len(each) >= self.words]
        grams = hash_ngrams([words[number] for number in long], self.words)
        counts = (grams.starts[1:] - grams.starts[:-1]).astype(np.int64)
        rows = np.repeat(np.array(long, np.uint64) + np.uint64(first), counts)
        return np.unique(np.stack([grams.hashes, rows], axis=1), axis=0)

    def _overlaps(self, batch: Batch, test: _TestRows) -> dict[int, tuple[float, str]]:
        """Return for each contaminated row the largest share of a test row that it has, and which one."""
        return {
            row: (share, test.places[held_out])
            for row, share, held_out in self._shares(self._pairs(batch, 0), test)
            if share >= self.max_share
        }

    def _shares(self, pairs: "np.ndarray", test: _TestRows) -> Iterator[tuple[int, float, int]]:
        """Yield row, share and test row for each pair of rows with common n-grams, smaller shares first."""
        import numpy as np

        starts, ends = (np.searchsorted(test.hashes, pairs[:, 0], side) for side in ("left", "right"))
        counts = ends - starts
        hits = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        learned = np.repeat(pairs[:, 1].astype(np.int64), counts)
        both, common = np.unique(np.stack([learned, test.rows[hits]], axis=1), axis=0, return_counts=True)
        shares = common / test.sizes[both[:, 1]]
        for index in np.argsort(shares, kind="stable").tolist():
            yield int(both[index, 0]), float(shares[index]), int(both[index, 1])
