"""Causal language modelling: the next token, given all before it."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.engine import Engine
from framework.build.task import LABEL_MASK, Batch, Example, Task
from framework.build.task.answers import METRICS, score
from framework.build.task.cross_entropy import separable_head, summed_cross_entropy, without_head

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.nn import Linear

_ROWS = 4  # rows a call of the engine: float32 logits of 4 x 512 x 50,000 are 400 MB


class CausalLanguageModelling(Task):
    """``input_ids`` and ``labels`` of a row are equally long; a label is the token itself or masked."""

    name: ClassVar[str] = "causal-lm"
    auto_class: ClassVar[str] = "AutoModelForCausalLM"
    peft_type: ClassVar[str] = "CAUSAL_LM"
    generates: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = METRICS
    suggested_export: ClassVar[str] = "onnx-genai"
    suggested_engine: ClassVar[str] = "genai"
    suggested_compression: ClassVar[str] = "int4-weight"

    def collate(self, rows: Sequence[Example], pad: int, packed: bool = False) -> Batch:
        """Lay rows end to end, or pad them on the left.

        Packed: ``input_ids``, ``position_ids`` (restarting with each row) and ``labels``, all (1, T),
        and what ``framework.build.task.packing`` needs to keep rows apart: ``cu_seq_lens_q``, int32
        (rows + 1,), and the longest row, ``max_length_q``.
        The first label of each row is masked, since nothing stands before it.
        Padded: ``input_ids``, ``attention_mask``, ``position_ids`` and ``labels``, all (rows, T); on the
        left, so that answers end together and logits are needed for few columns.
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
        """Return the number of labelled tokens after the first."""
        return int((labels[1:] != LABEL_MASK).sum())

    def loss(self, model: Any, batch: Batch) -> "Tensor":
        """Return the summed cross entropy of the labelled tokens.

        The head sees only the places before a label: exactly those of a packed row, the columns from the
        first label on of padded ones.
        """
        import torch

        head = separable_head(model)
        found, wanted, _ = self.read(model, batch, head)
        if head is not None:
            return summed_cross_entropy(found, head, wanted)
        return torch.nn.functional.cross_entropy(found.float(), wanted, reduction="sum")

    def read(
        self, model: Any, batch: Batch, head: "Linear | None", **more: Any
    ) -> "tuple[Tensor, Tensor, list[Tensor]]":
        """Let *model* read *batch*, and return what is at the places before a label.

        Args:
            model: the language model.
            batch: of ``collate``.
            head: what ``separable_head`` finds in *model*.
            more: further arguments of *model*, such as ``output_hidden_states``.

        Returns:
            What *head* is given there, (places, width), or the logits where it is None; the right tokens,
            (places,); and each layer's hidden states, (places, width), where *more* asks for them.
        """
        labels = batch["labels"][:, 1:]
        labelled = labels != LABEL_MASK
        inputs = {name: value for name, value in batch.items() if name != "labels"} | more
        with nullcontext() if head is None else without_head(head):
            if "cu_seq_lens_q" in batch:
                places = labelled[0].nonzero()[:, 0]
                out = model(**inputs, logits_to_keep=places, use_cache=False)
                found, states = out.logits[0], [each[0, places] for each in _states(out)]
            else:
                first = int(labelled.any(0).int().argmax())
                kept = labelled[:, first:]
                out = model(**inputs, logits_to_keep=kept.shape[1] + 1, use_cache=False)
                found = out.logits[:, :-1][kept]
                states = [each[:, first:-1][kept] for each in _states(out)]
        return found, labels[labelled], states

    def logits(self, engine: Engine, rows: Sequence[Example]) -> "list[np.ndarray]":
        """Return for each row (labelled tokens, vocabulary)."""
        found = engine.logits([ids.tolist() for ids, *_ in rows])
        places = [(labels[1:] != LABEL_MASK).nonzero()[:, 0].numpy() for _, labels, *_ in rows]
        return [logits[kept] for logits, kept in zip(found, places, strict=True)]

    def asked(self, row: Example) -> tuple[list[int], list[int]]:
        """Return what stands before the first answer, and all answers' tokens."""
        ids, labels, *_ = row
        start = int((labels != LABEL_MASK).int().argmax())
        return ids[:start].tolist(), labels[labels != LABEL_MASK].tolist()

    def measure(self, engine: Engine, rows: Sequence[Example]) -> dict[str, float]:
        """Return the scores of the labelled tokens; see ``framework.build.task.answers``."""
        batches = (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
        return score(
            (logits, labels[1:][labels[1:] != LABEL_MASK])
            for batch in batches
            for logits, (_, labels, *_) in zip(self.logits(engine, batch), batch, strict=True)
        )


def _states(out: Any) -> "Sequence[Tensor]":
    """Return the hidden states in a model's answer, (rows, T, width) each; none where none were asked for."""
    return getattr(out, "hidden_states", None) or ()


TASK = CausalLanguageModelling
