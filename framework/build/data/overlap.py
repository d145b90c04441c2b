"""Rows that are in both splits of a data stage's output: they are counted, named and bounded.

It compares the canonical text of rows. Some 60 bytes per test row are in memory, and one shard of
training rows.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from framework.build.data.shards import in_shards, read_shards
from framework.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

_SHOWN = 3
_BYTES = 16


def require_apart(folder: Path, max_overlap: float) -> int:
    """Return how many test rows in *folder*, one or more, are training rows too; print it if there are any.

    Raises:
        DataError: they are more than a share of *max_overlap* of all test rows.
    """
    import numpy as np

    tested = bytearray()
    for row in read_shards(folder, "test"):
        tested += _digest(row.text)
    digests, counts = np.unique(np.frombuffer(tested, f"V{_BYTES}"), return_counts=True)
    learned = np.zeros(len(digests), bool)
    places: dict[bytes, str] = {}
    for batch, origins in _batches(folder):
        positions = np.searchsorted(digests, batch).clip(max=len(digests) - 1)
        hits = np.flatnonzero(digests[positions] == batch)
        learned[positions[hits]] = True
        for index in hits[: _SHOWN - len(places)]:
            places.setdefault(batch[index].tobytes(), origins[index])
    overlap, rows = int(counts[learned].sum()), int(counts.sum())
    if overlap == 0:
        return 0
    named = "\n".join(f"  {line}" for line in _pairs(folder, places))
    found = f"{overlap} of {rows} test rows are training rows too"
    if overlap > max_overlap * rows:
        raise DataError(
            f"data: {found}, more than data.max_overlap={max_overlap:g} allows, so that metrics would be of "
            "rows that were learned; remove them from one of both splits, or raise data.max_overlap:\n"
            f"{named}"
        )
    print(f"  warning: {found}:\n{named}", flush=True)
    return overlap


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_BYTES).digest()


def _batches(folder: Path) -> "Iterator[tuple[np.ndarray, list[str]]]":
    """Yield the digests of training rows and their places, shard by shard."""
    import numpy as np

    for shard in in_shards(read_shards(folder, "train"), lambda row: len(row.text)):
        digests = b"".join(_digest(row.text) for row in shard)
        yield np.frombuffer(digests, f"V{_BYTES}"), [f"{row.file}:{row.line}" for row in shard]


def _pairs(folder: Path, places: dict[bytes, str]) -> Iterator[str]:
    """Yield where each row of *places*, by digest, is in both splits."""
    left = dict(places)
    for row in read_shards(folder, "test"):
        if (place := left.pop(_digest(row.text), None)) is not None:
            yield f"{row.file}:{row.line} is the same row as {place}"
        if not left:
            return
