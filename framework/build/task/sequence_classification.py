"""Sequence classification: one class for each row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Classifies, Engine, require
from framework.build.task import Batch, Example, Task
from framework.build.task.padding import padded_right

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ROWS = 32  # rows per call of the engine


class SequenceClasses(Task):
    """A row has one label, the index of its class."""

    name: ClassVar[str] = "sequence-classification"
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_type: ClassVar[str] = "SEQ_CLS"
    generates: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")
    suggested_export: ClassVar[str] = "onnx"
    suggested_engine: ClassVar[str] = "onnxruntime"
    suggested_compression: ClassVar[str] = "int8-dynamic"

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pad on the right: ``input_ids`` and ``attention_mask`` are (rows, T), ``labels`` (rows,)."""
        from torch import cat

        return {**padded_right(rows, pad), "labels": cat([labels for _, labels, *_ in rows])}

    def cut(self, ids: list[int], labels: list[int], limit: int) -> tuple[list[int], list[int]]:
        """Truncate the text, but keep the encoder's end token."""
        return [*ids[: limit - 1], ids[-1]], labels

    def weight(self, labels: "Tensor") -> int:
        """Return 1."""
        return 1

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed cross entropy of the rows' classes."""
        import torch

        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits = model(**inputs).logits.float()
        return torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="sum")

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, logits of shape (1, classes)."""
        classifier, ids = require(engine, Classifies), [ids.tolist() for ids, *_ in rows]
        batches = [classifier.classify(ids[start : start + _ROWS]) for start in range(0, len(ids), _ROWS)]
        return [row[None] for batch in batches for row in batch]

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return accuracy and macro F1."""
        import torch
        from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

        logits = torch.cat([torch.from_numpy(row) for row in self.logits(engine, rows)])
        targets = torch.cat([labels for _, labels, *_ in rows])
        classes = logits.shape[1]
        return {
            "accuracy": float(multiclass_accuracy(logits, targets, num_classes=classes, average="micro")),
            "macro_f1": float(multiclass_f1_score(logits, targets, num_classes=classes, average="macro")),
        }


TASK = SequenceClasses
