"""Rows that are in both splits of a data stage's output: they are counted, named and bounded.

It compares the canonical text of rows, and the bytes of images. Some 60 bytes per test row are in memory, and
one shard of training rows.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.data.shards import SourcedRow, in_shards, read_shards, to_json
from framework.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

_SHOWN = 3
_BYTES = 16


@dataclass(frozen=True)
class Overlap:
    """Test rows that are training rows too."""

    count: int
    rows: int
    """All test rows."""
    pairs: tuple[str, ...]
    """Where the first of them are in both splits, in words."""

    def require(self, max_overlap: float | None) -> None:
        """Raise ``DataError`` if they are more than a share of *max_overlap* of test rows, if it is set."""
        if max_overlap is not None and self.count > max_overlap * self.rows:
            raise DataError(
                f"data: {self._found}, more than data.max_overlap={max_overlap:g} allows, so that metrics "
                "would be of rows that were learned; remove them from one split, or raise data.max_overlap:"
                f"{self._named}"
            )

    def report(self) -> None:
        """Print them if there are any."""
        if self.count:
            print(f"  warning: {self._found}:{self._named}", flush=True)

    @property
    def _found(self) -> str:
        return f"{self.count} of {self.rows} test rows are also in the training rows"

    @property
    def _named(self) -> str:
        return "".join(f"\n  {pair}" for pair in self.pairs)


def find_overlap(folder: Path) -> Overlap:
    """Return the rows of *folder* that are in both splits; there is a test row at least."""
    import numpy as np

    tested = bytearray()
    for row in read_shards(folder, "test"):
        tested += _digest(row)
    digests, counts = np.unique(np.frombuffer(tested, f"V{_BYTES}"), return_counts=True)
    learned = np.zeros(len(digests), bool)
    places: dict[bytes, str] = {}
    for batch, origins in _batches(folder):
        positions = np.searchsorted(digests, batch).clip(max=len(digests) - 1)
        hits = np.flatnonzero(digests[positions] == batch)
        learned[positions[hits]] = True
        for index in hits[: _SHOWN - len(places)]:
            places.setdefault(batch[index].tobytes(), origins[index])
    return Overlap(int(counts[learned].sum()), int(counts.sum()), tuple(_pairs(folder, places)))


def _digest(row: SourcedRow) -> bytes:
    text = row.text
    if row.image is not None:  # the copy is named by the digest of its bytes
        text = to_json({**row.row, "image": row.image.stem})
    return hashlib.blake2b(text.encode(), digest_size=_BYTES).digest()


def _batches(folder: Path) -> "Iterator[tuple[np.ndarray, list[str]]]":
    """Yield the digests of training rows and their places, shard by shard."""
    import numpy as np

    for shard in in_shards(read_shards(folder, "train"), lambda row: len(row.text)):
        digests = b"".join(map(_digest, shard))
        yield np.frombuffer(digests, f"V{_BYTES}"), [f"{row.file}:{row.line}" for row in shard]


def _pairs(folder: Path, places: dict[bytes, str]) -> Iterator[str]:
    """Yield where each row of *places*, by digest, is in both splits."""
    left = dict(places)
    for row in read_shards(folder, "test") if left else ():
        if (place := left.pop(_digest(row), None)) is not None:
            yield f"{row.file}:{row.line} is the same row as {place}"
        if not left:
            return
