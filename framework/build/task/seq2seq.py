"""Sequence to sequence: an encoder reads one text, a decoder writes another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine, Generates, GivesAnswerLogits, require
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.answers import METRICS, Scored, score
from framework.build.task.padding import padded_right

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_ROWS = 4  # rows per call of the engine, as for language models


class SequenceToSequence(Task):
    """``input_ids`` are the encoder's tokens, ``labels`` the decoder's, with its end token."""

    name: ClassVar[str] = "seq2seq"
    auto_class: ClassVar[str] = "AutoModelForSeq2SeqLM"
    peft_type: ClassVar[str] = "SEQ_2_SEQ_LM"
    generates: ClassVar[bool] = True
    has_decoder_stack: ClassVar[bool] = True
    pairs_layers: ClassVar[bool] = False
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
        """Truncate the encoder's tokens, but keep the end token; an answer is never truncated."""
        room = limit - len(labels)
        return ([*ids[: room - 1], ids[-1]], labels) if room > 1 else None

    def weight(self, labels: "Tensor") -> int:
        """Return the number of the answer's tokens."""
        return len(labels)

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed cross entropy of the answers' tokens."""
        import torch

        labels = batch["labels"]
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
        # Shifted right: each token is predicted from those before it, the first from a start token.
        shifted = decoder.prepare_decoder_input_ids_from_labels(labels)
        logits = model(**inputs, decoder_input_ids=shifted, use_cache=False).logits.float()
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=LABEL_MASK, reduction="sum"
        )

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, logits of its answer: (tokens of the answer, vocabulary)."""
        model, pairs = require(engine, GivesAnswerLogits), [self.prompt_and_answer(row) for row in rows]
        return model.answer_logits([ids for ids, _ in pairs], [answer for _, answer in pairs])

    def prompt_and_answer(self, row: Example) -> tuple[list[int], list[int]]:
        """Return the encoder's tokens and the answer's."""
        ids, labels, *_ = row
        return ids.tolist(), labels.tolist()

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return the metrics of ``framework.build.task.answers``."""
        batches = (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
        scored = (
            Scored(logits, labels, [len(labels) - 1])
            for batch in batches
            for logits, (_, labels, *_) in zip(self.logits(engine, batch), batch, strict=True)
        )
        return score(scored, require(engine, Generates).ends)


TASK = SequenceToSequence
