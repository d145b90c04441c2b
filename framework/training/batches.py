"""Batches: from prepared token ids to padded tensors, in an order that the seed decides."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.model import LABEL_MASK
from framework.training import Training

if TYPE_CHECKING:
    from torch import Tensor

Example = tuple["Tensor", "Tensor"]


def read_examples(file: Path) -> list[Example]:
    """Read ``(input_ids, labels)`` pairs, each two 1-D int64 tensors; see ``framework.stages.data``."""
    import torch
    from safetensors.torch import load_file

    stored = load_file(file)
    ids = torch.split(stored["input_ids"].long(), stored["input_lengths"].tolist())
    labels = torch.split(stored["labels"].long(), stored["label_lengths"].tolist())
    return list(zip(ids, labels, strict=True))


class RowOrder:
    """Batches of row numbers, in an order that only the seed and the epoch decide.

    ``taken`` counts the batches that training has had; an iteration goes on from there. So one number
    brings a resumed run back to the very rows that it would have seen, whichever epoch it was in.
    """

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.taken = 0

    def __len__(self) -> int:
        return math.ceil(self.rows / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        import numpy as np

        epoch, begun = divmod(self.taken, len(self))
        order = np.random.default_rng([self.seed, epoch]).permutation(self.rows).tolist()
        for first in range(begun * self.batch_size, self.rows, self.batch_size):
            yield order[first : first + self.batch_size]


def train_loader(examples: list[Example], training: Training, task: str, pad: int, seed: int) -> Any:
    """Return a ``torch.utils.data.DataLoader`` whose ``batch_sampler`` is a ``RowOrder``."""
    import torch

    collate = _collate_classes if task == "sequence-classification" else _collate_tokens
    return torch.utils.data.DataLoader(
        examples,  # type: ignore[arg-type]  # a list is all that it needs
        batch_sampler=RowOrder(len(examples), training.micro_batch_size, seed),
        generator=torch.Generator(),  # else it draws from the one that dropout draws from
        collate_fn=lambda rows: collate(rows, pad),
    )


def _collate_tokens(rows: list[Example], pad: int) -> dict[str, Any]:
    """Pad on the left, so that the answers end together and logits are needed for few columns.

    Returns:
        ``input_ids``, ``attention_mask``, ``position_ids`` and ``labels``, all (rows, T) int64.
    """
    import torch

    width = max(len(ids) for ids, _ in rows)

    def left(values: "Tensor", fill: int) -> "Tensor":
        return torch.nn.functional.pad(values, (width - len(values), 0), value=fill)

    mask = torch.stack([left(torch.ones_like(ids), 0) for ids, _ in rows])
    return {
        "input_ids": torch.stack([left(ids, pad) for ids, _ in rows]),
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        "labels": torch.stack([left(labels, LABEL_MASK) for _, labels in rows]),
    }


def _collate_classes(rows: list[Example], pad: int) -> dict[str, Any]:
    """Pad on the right. Returns ``input_ids``, ``attention_mask`` (rows, T) and ``labels`` (rows,)."""
    from torch import cat, ones_like
    from torch.nn.utils.rnn import pad_sequence

    ids = [ids for ids, _ in rows]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence([ones_like(row) for row in ids], batch_first=True),
        "labels": cat([labels for _, labels in rows]),
    }
