"""Rows of unequal length as batches: which go together, and what fills the short ones."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PADDED_TOKENS = 2048
"""Most tokens of one batch, padding included: bounds the logits (tokens x vocabulary x 4 bytes)."""


def batches(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield indices of rows of like length, so that little is spent on padding.

    >>> list(batches([[1, 2, 3], [1], [1, 2], [1] * 5000]))
    [[1, 2, 0], [3]]
    """
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda index: len(rows[index])):
        if batch and len(rows[index]) * (len(batch) + 1) > PADDED_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def padded(rows: Sequence[Sequence[int]], pad: int) -> "tuple[np.ndarray, np.ndarray]":
    """Return token ids and mask, both int64 (rows, longest), with *pad* to the right of short rows.

    >>> [found.tolist() for found in padded([[5, 6], [7]], pad=0)]
    [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]
    """
    import numpy as np

    ids = np.full((len(rows), max(map(len, rows))), pad, np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask
