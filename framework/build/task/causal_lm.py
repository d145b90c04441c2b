"""Causal language modeling: predict the next token from all tokens before it."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine, Generates, GivesLogits, require
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.answers import METRICS, Scored, score
from framework.build.task.cross_entropy import separable_head, summed_cross_entropy, without_head
from framework.build.task.selected_rows import SelectedRows

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.nn import Linear

JUDGED_PARTS = 3
"""Tensors of a row whose answer has a label: ids, labels, and (1,), 1 for a good answer, 0 for a bad one."""
_ROWS = 4  # rows per call of the engine: float32 logits of 4 x 512 x 50,000 are 400 MB


class CausalLanguageModeling(Task):
    """A row's ``input_ids`` and ``labels`` have the same length; a label is the token itself or masked."""

    name: ClassVar[str] = "causal-lm"
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    peft_type: ClassVar[str] = "CAUSAL_LM"
    generates: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    reads_labeled: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = METRICS
    suggested_export: ClassVar[str] = "onnx-genai"
    suggested_engine: ClassVar[str] = "genai"
    suggested_compression: ClassVar[str] = "int4-weight"

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Pack rows end to end, or pad them on the left.

        Packed: ``input_ids``, ``position_ids`` (restarting at each row) and ``labels``, all (1, T). For
        ``framework.build.task.packing`` there are also ``cu_seq_lens_q``, int32 (rows + 1,), and the
        length of the longest row, ``max_length_q``.
        Padded: ``input_ids``, ``attention_mask``, ``position_ids`` and ``labels``, all (rows, T). Left
        padding aligns the ends of the answers, so that few columns of logits are needed.
        Each row's first label is masked, since no token precedes it.
        """
        import torch

        if packed:
            lengths = [len(ids) for ids, *_ in rows]
            starts = [0, *accumulate(lengths)]
            labels = torch.cat([labels for _, labels, *_ in rows])
            labels[starts[:-1]] = LABEL_MASK
            return {
                "input_ids": torch.cat([ids for ids, *_ in rows])[None],
                "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
                "labels": labels[None],
                "cu_seq_lens_q": torch.tensor(starts, dtype=torch.int32),
                "max_length_q": max(lengths),
            }
        width = max(len(ids) for ids, *_ in rows)

        def left(values: "Tensor", fill: int) -> "Tensor":
            return torch.nn.functional.pad(values, (width - len(values), 0), value=fill)

        mask = torch.stack([left(torch.ones_like(ids), 0) for ids, *_ in rows])
        labels = torch.stack([left(labels, LABEL_MASK) for _, labels, *_ in rows])
        labels[torch.arange(len(rows)), [width - len(ids) for ids, *_ in rows]] = LABEL_MASK
        return {
            "input_ids": torch.stack([left(ids, pad) for ids, *_ in rows]),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
            "labels": labels,
        }

    def weight(self, labels: "Tensor") -> int:
        """Return the number of labels after the first token."""
        return int((labels[1:] != LABEL_MASK).sum())

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed cross entropy of the labels.

        The head is applied only before labels: exactly there in a packed row, from the first labeled
        column on in padded rows.
        """
        import torch

        head = separable_head(model)
        outputs, targets, _ = self.read(model, batch, head)
        if head is not None:
            return summed_cross_entropy(outputs, head, targets)
        return torch.nn.functional.cross_entropy(outputs.float(), targets, reduction="sum")

    def read(
        self, model: Any, batch: Batch, head: "Linear | None", **more: Any
    ) -> "tuple[Tensor, Tensor, list[Tensor]]":
        """Return the outputs before each label; see the base class. *head* is of ``separable_head``."""
        labels = batch["labels"][:, 1:]
        labeled = labels != LABEL_MASK
        inputs = {name: value for name, value in batch.items() if name != "labels"} | more
        with nullcontext() if head is None else without_head(head):
            if "cu_seq_lens_q" in batch:
                positions = labeled[0].nonzero()[:, 0]
                out = model(**inputs, logits_to_keep=positions, use_cache=False)
                outputs, states = out.logits[0], [layer[0, positions] for layer in _states(out)]
            else:
                first = int(labeled.any(0).int().argmax())
                kept = labeled[:, first:]
                out = model(**inputs, logits_to_keep=kept.shape[1] + 1, use_cache=False)
                outputs = out.logits[:, :-1][kept]
                states = [layer[:, first:-1][kept] for layer in _states(out)]
        return outputs, labels[labeled], states

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return, for each row, the logits of its labels: (labels, vocabulary)."""
        by_row = require(engine, GivesLogits).logits([ids.tolist() for ids, *_ in rows])
        positions = [(labels[1:] != LABEL_MASK).nonzero()[:, 0].numpy() for _, labels, *_ in rows]
        return [logits[kept] for logits, kept in zip(by_row, positions, strict=True)]

    def prompt_and_answer(self, row: Example) -> tuple[list[int], list[int]]:
        """Return the last answer's tokens, and those before them, which hold the earlier answers."""
        ids, labels, *_ = row
        labeled = (labels != LABEL_MASK).tolist()
        stop = len(labeled) - labeled[::-1].index(True)
        start = stop - [*labeled[:stop][::-1], False].index(False)
        return ids[:start].tolist(), ids[start:stop].tolist()

    def right_rows(self, rows: Sequence[Example]) -> Sequence[Example]:
        """Return *rows* without the bad answers."""
        if not rows or len(rows[0]) != JUDGED_PARTS:
            return rows
        kept = [number for number, row in enumerate(rows) if row[2]]
        return rows if len(kept) == len(rows) else SelectedRows(rows, kept)

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return the metrics of ``framework.build.task.answers``."""
        batches = (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
        scored = (
            Scored(logits, labels[1:][labels[1:] != LABEL_MASK], _answer_ends(labels))
            for batch in batches
            for logits, (_, labels, *_) in zip(self.logits(engine, batch), batch, strict=True)
        )
        return score(scored, require(engine, Generates).ends)


def _answer_ends(labels: "Tensor") -> list[int]:
    """Return which of a row's labels after its first token end an answer; none in a document.

    >>> import torch
    >>> _answer_ends(torch.tensor([-100, -100, 5, 6, -100, 7])), _answer_ends(torch.tensor([5, 6, 7]))
    ([1, 2], [])
    """
    if labels[0] != LABEL_MASK:
        return []
    places = (labels != LABEL_MASK).nonzero()[:, 0].tolist()
    following = [*places[1:], None]
    return [at for at, (here, after) in enumerate(zip(places, following, strict=True)) if after != here + 1]


def _states(out: Any) -> "Sequence[Tensor]":
    """Return each layer's hidden states (rows, T, width); none if the call did not request them."""
    return getattr(out, "hidden_states", None) or ()


TASK = CausalLanguageModeling
