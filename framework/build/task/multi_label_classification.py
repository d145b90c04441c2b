"""Multi-label classification: any number of classes for each row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine
from framework.build.task import Batch, Example
from framework.build.task.padding import padded_right
from framework.build.task.sequence_classification import SequenceClasses

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class MultiLabelClasses(SequenceClasses):
    """A row has one label per class: 1 if the row belongs to it, else 0."""

    name: ClassVar[str] = "multi-label-classification"
    multi_label: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("subset_accuracy", "macro_f1", "micro_f1")

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pad on the right: ``input_ids``, ``attention_mask`` are (rows, T), ``labels`` (rows, classes)."""
        import torch

        return {**padded_right(rows, pad), "labels": torch.stack([labels for _, labels, *_ in rows])}

    def weight(self, labels: "Tensor") -> int:
        """Return the number of classes, each a binary decision."""
        return len(labels)

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed binary cross entropy over rows and classes."""
        import torch

        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits = model(**inputs).logits.float()
        targets = batch["labels"].float()
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, logits of shape (classes, 2): 0 for no, the model's logit for yes."""
        import numpy as np

        return [np.stack([np.zeros_like(row[0]), row[0]], 1) for row in super().logits(engine, rows)]

    def format_choices(self, choices: Sequence[int], names: Sequence[str]) -> str:
        """List the classes of the row."""
        return ", ".join(name for name, belongs in zip(names, choices, strict=True) if belongs) or "(none)"

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return the share of rows whose classes are all right, and macro and micro F1."""
        import torch
        from torchmetrics.functional.classification import multilabel_exact_match, multilabel_f1_score

        predicted = torch.stack([torch.from_numpy(logits[:, 1]) for logits in self.logits(engine, rows)]) > 0
        targets = torch.stack([labels for _, labels, *_ in rows])
        pair, classes = (predicted.int(), targets), targets.shape[1]
        return {
            "subset_accuracy": float(multilabel_exact_match(*pair, num_labels=classes)),
            "macro_f1": float(multilabel_f1_score(*pair, num_labels=classes, average="macro")),
            "micro_f1": float(multilabel_f1_score(*pair, num_labels=classes, average="micro")),
        }


TASK = MultiLabelClasses
