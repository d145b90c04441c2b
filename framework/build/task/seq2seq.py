"""Sequence to sequence: an encoder reads a text, a decoder writes another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.answers import METRICS, score
from framework.build.task.padding import padded_right

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ROWS = 4  # rows a call of the engine, as for language models


class SequenceToSequence(Task):
    """``input_ids`` are what the encoder reads, ``labels`` what the decoder writes, with its end token."""

    name: ClassVar[str] = "seq2seq"
    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    peft_type: ClassVar[str] = "SEQ_2_SEQ_LM"
    generates: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = METRICS

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pad both on the right: ``input_ids``, ``attention_mask`` (rows, T), ``labels`` (rows, answer)."""
        from torch.nn.utils.rnn import pad_sequence

        labels = [labels for _, labels, *_ in rows]
        masked = pad_sequence(labels, batch_first=True, padding_value=LABEL_MASK)
        return {**padded_right(rows, pad), "labels": masked}

    def length(self, ids: list[int], labels: list[int]) -> int:
        """Return the tokens of both sides."""
        return len(ids) + len(labels)

    def cut(self, ids: list[int], labels: list[int], limit: int) -> tuple[list[int], list[int]] | None:
        """Shorten what is read, but for its end token; an answer is never cut."""
        left = limit - len(labels)
        return ([*ids[: left - 1], ids[-1]], labels) if left > 1 else None

    def weight(self, labels: "Tensor") -> int:
        """Return the number of tokens of the answer."""
        return len(labels)

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed cross entropy of the answers' tokens."""
        import torch

        labels = batch["labels"]
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
        # The model shifts: each token is predicted from those before it, the first from a start token.
        before = decoder.prepare_decoder_input_ids_from_labels(labels)
        logits = model(**inputs, decoder_input_ids=before, use_cache=False).logits.float()
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=LABEL_MASK, reduction="sum"
        )

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return for each row (tokens of the answer, vocabulary)."""
        asked = [self.asked(row) for row in rows]
        return engine.answer_logits([ids for ids, _ in asked], [answer for _, answer in asked])

    def asked(self, row: Example) -> tuple[list[int], list[int]]:
        """Return both sides."""
        ids, labels, *_ = row
        return ids.tolist(), labels.tolist()

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return the scores of the answers; see ``framework.build.task.answers``."""
        batches = (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
        return score(
            (logits, labels)
            for batch in batches
            for logits, (_, labels, *_) in zip(self.logits(engine, batch), batch, strict=True)
        )


TASK = SequenceToSequence
