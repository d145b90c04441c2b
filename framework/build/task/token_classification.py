"""Token classification: a tag for each word, and the spans that the tags encode."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine, GivesLogits, require
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.bioes import spans
from framework.build.task.padding import padded_right

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ROWS = 32  # rows per call of the engine


class TokenClasses(Task):
    """A row's ``input_ids`` and ``labels`` have the same length; a word's tag labels its first token.

    Tags are BIOES, numbered as in ``framework.build.task.bioes``. All other tokens are masked.
    """

    name: ClassVar[str] = "token-classification"
    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    peft_type: ClassVar[str] = "TOKEN_CLS"
    generates: ClassVar[bool] = False
    labels_words: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("span_f1", "accuracy")
    suggested_export: ClassVar[str] = "onnx"
    suggested_engine: ClassVar[str] = "onnxruntime"
    suggested_compression: ClassVar[str] = "int8-dynamic"

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pad on the right: ``input_ids``, ``attention_mask`` and ``labels`` are (rows, T)."""
        from torch.nn.utils.rnn import pad_sequence

        labels = [labels for _, labels, *_ in rows]
        masked = pad_sequence(labels, batch_first=True, padding_value=LABEL_MASK)
        return {**padded_right(rows, pad), "labels": masked}

    def cut(self, ids: list[int], labels: list[int], limit: int) -> tuple[list[int], list[int]] | None:
        """Drop the last words, but keep the encoder's end token."""
        shorter = [*labels[: limit - 1], labels[-1]]
        kept = any(label != LABEL_MASK for label in shorter)
        return ([*ids[: limit - 1], ids[-1]], shorter) if kept else None

    def weight(self, labels: "Tensor") -> int:
        """Return the number of tagged words."""
        return int((labels != LABEL_MASK).sum())

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed cross entropy of the words' tags."""
        import torch

        inputs = {name: value for name, value in batch.items() if name != "labels"}
        logits = model(**inputs).logits.float().flatten(0, 1)
        targets = batch["labels"].flatten()
        return torch.nn.functional.cross_entropy(logits, targets, ignore_index=LABEL_MASK, reduction="sum")

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, logits of shape (words, tags)."""
        import numpy as np

        model = require(engine, GivesLogits)
        by_row: list[np.ndarray] = []
        for start in range(0, len(rows), _ROWS):
            batch = rows[start : start + _ROWS]
            logits = model.logits([ids.tolist() for ids, *_ in batch])
            tagged = [np.asarray(labels != LABEL_MASK) for _, labels, *_ in batch]
            by_row += [row[kept] for row, kept in zip(logits, tagged, strict=True)]
        return by_row

    def sample(self, ids: list[int]) -> tuple[Any, ...]:
        """Return a row in which every token is a word."""
        import numpy as np

        return np.array(ids), np.zeros(len(ids), np.int64)

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return F1 of whole spans over all rows, and the share of words with the right tag.

        A span counts if both ends and the entity are right and it is well formed, as in CoNLL's strict
        evaluation of IOBES.
        """
        right = words = hits = predicted_spans = target_spans = 0
        for logits, (_, labels, *_) in zip(self.logits(engine, rows), rows, strict=True):
            tags = labels[labels != LABEL_MASK].tolist()
            predicted = logits.argmax(-1).tolist()
            right += sum(tag == other for tag, other in zip(tags, predicted, strict=True))
            words += len(tags)
            hits += len(spans(tags) & spans(predicted))
            predicted_spans += len(spans(predicted))
            target_spans += len(spans(tags))
        total = predicted_spans + target_spans
        return {
            "span_f1": 2 * hits / total if total else 1.0,
            "accuracy": right / words,
        }


TASK = TokenClasses
