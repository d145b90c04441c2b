"""Metrics on the held-out rows, the same for every engine."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework.engine import Engine
from framework.evaluation import Evaluation

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 4  # rows a call: float32 logits of 4 x 512 x 50,000 are 400 MB
_UNLABELLED = -100  # framework.model.LABEL_MASK, as the data stage writes it


class HeldOut(Evaluation):
    """Exact match and perplexity for ``causal-lm``; accuracy and macro-F1 for classification."""

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the metrics of *task*."""
        return {
            "causal-lm": ("exact_match", "perplexity"),
            "sequence-classification": ("accuracy", "macro_f1"),
        }[task]

    def measure(
        self, engine: Engine, task: str, examples: "Sequence[tuple[Tensor, Tensor]]"
    ) -> dict[str, float]:
        """Measure the first ``rows`` examples; see the class for the metrics."""
        chosen = list(examples)[: self.rows]
        if task == "causal-lm":
            return _answers(engine, chosen)
        return _classes(engine, chosen)


def _answers(engine: Engine, examples: "Sequence[tuple[Tensor, Tensor]]") -> dict[str, float]:
    """Score answers by teacher forcing.

    ``exact_match`` is the share of rows in which every labelled token is the arg-max given the true
    tokens before it: by induction that is when greedy decoding would write the very answer.
    ``perplexity`` is exp of the mean negative log-likelihood of the labelled tokens.
    """
    import torch

    loss = tokens = matched = 0.0
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        all_logits = engine.logits([ids.tolist() for ids, _ in batch])
        for logits, (_, labels) in zip(all_logits, batch, strict=True):
            predicted, wanted = torch.from_numpy(logits)[:-1], labels[1:]
            kept = wanted != _UNLABELLED
            predicted, wanted = predicted[kept], wanted[kept]
            loss += float(torch.nn.functional.cross_entropy(predicted, wanted, reduction="sum"))
            tokens += len(wanted)
            matched += bool((predicted.argmax(-1) == wanted).all())
    return {"exact_match": matched / len(examples), "perplexity": math.exp(min(loss / tokens, 700.0))}


def _classes(engine: Engine, examples: "Sequence[tuple[Tensor, Tensor]]") -> dict[str, float]:
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    rows = [ids.tolist() for ids, _ in examples]
    logits = torch.cat(
        [torch.from_numpy(engine.classify(rows[start : start + 32])) for start in range(0, len(rows), 32)]
    )
    wanted = torch.cat([labels for _, labels in examples])
    classes = logits.shape[1]
    return {
        "accuracy": float(multiclass_accuracy(logits, wanted, num_classes=classes, average="micro")),
        "macro_f1": float(multiclass_f1_score(logits, wanted, num_classes=classes, average="macro")),
    }
