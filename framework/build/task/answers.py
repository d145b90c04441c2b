"""Scores of answers by teacher forcing. It knows logits and the right tokens, and no task."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

METRICS = ("exact_match", "perplexity")


def score(answers: "Iterable[tuple[np.ndarray, Tensor]]") -> dict[str, float]:
    """Score answers, each as logits (tokens, vocabulary) and the right tokens (tokens,).

    ``exact_match`` is the share of answers in which every token is the arg-max given the true tokens
    before it: by induction that is when greedy decoding would write the very answer.
    ``perplexity`` is exp of the mean negative log-likelihood of all tokens.
    """
    import torch

    loss = tokens = matched = rows = 0.0
    for logits, wanted in answers:
        predicted = torch.from_numpy(logits)
        loss += float(torch.nn.functional.cross_entropy(predicted, wanted, reduction="sum"))
        tokens += len(wanted)
        matched += bool((predicted.argmax(-1) == wanted).all())
        rows += 1
    return {"exact_match": matched / rows, "perplexity": math.exp(min(loss / tokens, 700.0))}
