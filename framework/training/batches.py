"""Batches: from prepared token ids to padded tensors, in an order that the seed decides."""

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


def train_loader(examples: list[Example], training: Training, task: str, pad: int, seed: int) -> Any:
    """Return a loader whose place in the epoch is saved with a checkpoint.

    torchdata's loader is what makes a resumed run see the very rows that it would have seen.
    """
    import torch
    from torchdata.stateful_dataloader import StatefulDataLoader

    collate = _collate_classes if task == "sequence-classification" else _collate_tokens
    return StatefulDataLoader(
        examples,
        batch_size=training.micro_batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
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
