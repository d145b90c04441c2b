"""``clean=near``: of nearly equal rows, the first one stays.

MinHash (Broder 1997) over word n-grams, banded (Leskovec et al., Mining of Massive Datasets, chapter 3). It
compares words, not meaning: a paraphrase is another text.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.build.clean import Batch, CorpusClean, Removal
from framework.build.clean.column_files import PACKAGES, opened_columns, records
from framework.build.clean.row_texts import Part, comparable, target_of
from framework.build.clean.word_ngrams import NGrams, hash_ngrams, words_of

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

_BANDS, _WIDTH = 16, 8
"""Rows with a Jaccard similarity of 0.8 share a band with probability 0.947, of 0.9 with 0.9999."""
_SEED = 42
_CANDIDATES = " union ".join(
    f"select first, number from (select number, min(number) over (partition by band{band}, target) as first "
    "from columns where judged) where first < number"
    for band in range(_BANDS)
)
_SIGNED = """
    select first, candidates.number as number, one.signature as one, other.signature as other
    from candidates join columns as one on one.number = first
    join columns as other on other.number = candidates.number
    order by candidates.number, first
"""
_KEPT = """
    select removed.number, columns.file, columns.line
    from removed join columns on columns.number = removed.kept order by removed.number
"""


class Near(CorpusClean):
    """Remove training rows that are nearly equal to an earlier one.

    Rows that share one of 16 bands of their MinHash signature are candidates; of these, rows are alike whose
    whole signatures agree to at least ``threshold``. Alike rows form groups, of which the first row stays, so
    that a removed row is alike to some row of its group, not always to the one that stays. Rows with
    different labels, tags or images are never alike.
    """

    seconds_per_row: ClassVar[float] = 8e-5

    on: Part = "all"
    """The texts that are compared. With templated prompts, ``answer`` keeps rows with different answers."""
    threshold: Annotated[float, Field(ge=0.5, lt=1)] = 0.7
    """The least Jaccard similarity of two rows' n-grams, estimated by 128 hashes (standard error 0.04)."""
    words: Annotated[int, Field(ge=1, le=20)] = 5
    """Words of an n-gram; a Chinese or Japanese character is a word. Rows with fewer words are not judged."""

    def requires(self) -> Mapping[str, str]:
        """Return the packages that sign and compare."""
        return {"rensa": "clean", "xxhash": "clean", **PACKAGES}

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return whether a row is judged, the hashes of its bands and target, and its signature."""
        import numpy as np
        import xxhash

        rows = [row.row for row in batch]
        words = [words_of(comparable(row, self.on)) for row in rows]
        signatures = _signed(hash_ngrams(words, self.words))
        targets = [
            xxhash.xxh3_64_intdigest(target_of(source, row).encode())
            for source, row in zip(batch, rows, strict=True)
        ]
        return {
            "judged": np.array([len(each) >= self.words for each in words]),
            "target": np.array(targets, np.uint64),
            **{f"band{number}": band for number, band in enumerate(_bands(signatures))},
            "signature": _as_bytes(signatures),
        }

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield every row of a group but the first."""
        import numpy as np
        import pyarrow as pa

        with opened_columns(folder) as connection:
            connection.execute(f"create table candidates as {_CANDIDATES}")
            first = self._first_of_group(connection)
            numbers = np.flatnonzero(first != np.arange(len(first)))
            connection.register("removed", pa.table({"number": numbers, "kept": first[numbers]}))
            for number, file, line in records(connection, _KEPT):
                yield Removal(number, "near", f"nearly the same as {file}:{line}")

    def _first_of_group(self, connection: "duckdb.DuckDBPyConnection") -> "np.ndarray":
        """Return for each row the first row of its group, which is itself where it is alone.

        A union-find over the alike pairs: 8 bytes a row are in memory.
        """
        import numpy as np

        (count,) = next(records(connection, "select coalesce(max(number), -1) + 1 from columns"))
        first = np.arange(count, dtype=np.int64)

        def root(row: int) -> int:
            while first[row] != row:
                first[row] = row = first[first[row]]
            return row

        for batch in connection.sql(_SIGNED).to_arrow_reader(10_000):
            pairs = batch.to_pydict()
            alike = _agreement(pairs["one"], pairs["other"]) >= self.threshold
            for index in np.flatnonzero(alike):
                one, other = root(pairs["first"][index]), root(pairs["number"][index])
                first[max(one, other)] = min(one, other)
        for row in np.flatnonzero(first != np.arange(count)):
            first[row] = first[first[row]]  # in rising order, so that the earlier row is resolved already
        return first


def _signed(grams: NGrams) -> "np.ndarray":
    """Return the MinHash signature of each row: 128 32-bit hashes."""
    import numpy as np
    from rensa import RMinHash

    if len(grams.starts) == 1:
        return np.zeros((0, _BANDS * _WIDTH), np.uint32)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(grams.hashes, grams.starts, _BANDS * _WIDTH, _SEED)
    return np.array(matrix.to_rows(), np.uint32)


def _bands(signatures: "np.ndarray") -> "Iterator[np.ndarray]":
    """Yield for each band one 64-bit hash a row."""
    import numpy as np

    parts = signatures.astype(np.uint64).reshape(-1, _BANDS, _WIDTH)
    for band in range(_BANDS):
        mixed = np.full(len(parts), band, np.uint64)
        for column in range(_WIDTH):
            mixed = (mixed ^ parts[:, band, column]) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        yield mixed


def _as_bytes(signatures: "np.ndarray") -> "pa.Array":
    """Return the low 16 bits of each hash: 256 bytes a row, equal by chance once in 65,536."""
    import numpy as np
    import pyarrow as pa

    low = np.ascontiguousarray(signatures.astype("<u2"))
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(low.shape[1] * 2), len(low), [None, pa.py_buffer(low)]
    )


def _agreement(one: list[bytes], other: list[bytes]) -> "np.ndarray":
    """Return the share of equal hashes of each pair, which estimates the Jaccard similarity."""
    import numpy as np

    left, right = (np.frombuffer(b"".join(side), "<u2").reshape(len(side), -1) for side in (one, other))
    shares: np.ndarray = (left == right).mean(axis=1)
    return shares
