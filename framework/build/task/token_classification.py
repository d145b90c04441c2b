"""Token classification: a tag for each word, and so spans of words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.bioes import spans
from framework.build.task.padding import padded_right

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ROWS = 32  # rows a call of the engine


class TokenClasses(Task):
    """``input_ids`` and ``labels`` of a row are equally long; a word's tag is the label of its first token.

    Tags are BIOES in the order of ``framework.build.task.bioes``; all other tokens are masked.
    """

    name: ClassVar[str] = "token-classification"
    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    peft_type: ClassVar[str] = "TOKEN_CLS"
    generates: ClassVar[bool] = False
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
        """Leave words out at the end; an encoder expects its end token there."""
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
        wanted = batch["labels"].flatten()
        return torch.nn.functional.cross_entropy(logits, wanted, ignore_index=LABEL_MASK, reduction="sum")

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return for each row (words, tags)."""
        import numpy as np

        found: list[np.ndarray] = []
        for start in range(0, len(rows), _ROWS):
            batch = rows[start : start + _ROWS]
            parts = engine.logits([ids.tolist() for ids, *_ in batch])
            tagged = [np.asarray(labels != LABEL_MASK) for _, labels, *_ in batch]
            found += [part[kept] for part, kept in zip(parts, tagged, strict=True)]
        return found

    def sample(self, ids: list[int]) -> tuple[Any, ...]:
        """Return a row whose tokens are all words."""
        import numpy as np

        return np.array(ids), np.zeros(len(ids), np.int64)

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return F1 of whole spans over all rows, and the share of words with the right tag.

        A span counts where both ends and the entity are right, and only if it is well formed: what
        CoNLL's strict evaluation does for IOBES.
        """
        right = words = both = given = true = 0
        for logits, (_, labels, *_) in zip(self.logits(engine, rows), rows, strict=True):
            tags = labels[labels != LABEL_MASK].tolist()
            guessed = logits.argmax(-1).tolist()
            right += sum(one == other for one, other in zip(tags, guessed, strict=True))
            words += len(tags)
            wanted, found = spans(tags), spans(guessed)
            both, given, true = both + len(wanted & found), given + len(found), true + len(wanted)
        return {
            "span_f1": 2 * both / (given + true) if given + true else 1.0,
            "accuracy": right / words,
        }


TASK = TokenClasses
