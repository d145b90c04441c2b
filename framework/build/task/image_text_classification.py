"""Classify a text together with an image."""

from collections.abc import Sequence
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import ClassifiesImages, Engine, require
from framework.build.task import Batch, Example
from framework.build.task.sequence_classification import SequenceClasses

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ROWS = 16  # rows per call of the engine
_SAMPLE = 64  # side of the image that a model is timed with, in pixels


class ImageTextClasses(SequenceClasses):
    """A row has one label, the index of its class, and a square RGB image as its third tensor.

    The image is flat uint8, channels first: 3 * side * side values.
    """

    name: ClassVar[str] = "image-text-classification"
    auto_class: ClassVar[str] = "AutoModelForVisualQuestionAnswering"
    suggested_export: ClassVar[str] = "transformers"
    suggested_engine: ClassVar[str] = "torch"
    suggested_compression: ClassVar[str] = "none"
    reads_images: ClassVar[bool] = True
    pairs_layers: ClassVar[bool] = False

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pad texts as a classifier does; ``pixel_values`` is float32 (rows, 3, side, side) in [-1, 1]."""
        return {**super().collate(rows, pad), "pixel_values": pixels(rows)}

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, logits of shape (1, classes)."""
        model = require(engine, ClassifiesImages)
        by_row: list[np.ndarray] = []
        for start in range(0, len(rows), _ROWS):
            batch = rows[start : start + _ROWS]
            scores = model.classify_images([row[0].tolist() for row in batch], pixels(batch).numpy())
            by_row += [score[None] for score in scores]
        return by_row

    def sample(self, ids: list[int]) -> tuple[Any, ...]:
        """Return a row of the tokens *ids* and a gray image of 64 x 64 pixels."""
        import torch

        return *super().sample(ids), torch.full((3 * _SAMPLE * _SAMPLE,), 127, dtype=torch.uint8)


def pixels(rows: Sequence[Example]) -> "Tensor":
    """Return the images of *rows*, float32 (rows, 3, side, side), from -1 (black) to 1."""
    import torch

    flat = torch.stack([row[2] for row in rows]).float()
    side = isqrt(flat.shape[1] // 3)
    return (flat / 127.5 - 1).view(-1, 3, side, side)


TASK = ImageTextClasses
