"""Batches of rows with unequal lengths: which rows share a batch, and the padding of the short ones."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PADDED_TOKENS = 2048
"""Most tokens of one batch, padding included: bounds the logits (tokens x vocabulary x 4 bytes)."""


def batches(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield indices of rows with similar lengths, to keep padding low.

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

    >>> [array.tolist() for array in padded([[5, 6], [7]], pad=0)]
    [[[5, 6], [7, 0]], [[1, 1], [1, 0]]]
    """
    import numpy as np

    ids = np.full((len(rows), max(map(len, rows))), pad, np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return ids, mask


def without_padding(scores: "np.ndarray", rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
    """Split *scores* (rows, longest, choices) into one array for each row: (its tokens, choices)."""
    return [of_row[: len(row)] for of_row, row in zip(scores, rows, strict=True)]
