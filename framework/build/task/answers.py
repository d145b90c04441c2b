"""Score answers by teacher forcing: exact match and perplexity. It knows logits and tokens, no task."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

METRICS = ("exact_match", "perplexity")


def score(answers: "Iterable[tuple[np.ndarray, Tensor]]") -> dict[str, float]:
    """Return metrics of answers, each as logits (tokens, vocabulary) and target tokens (tokens,).

    ``exact_match`` is the share of answers in which every token is the argmax, given the target tokens
    before it. By induction, these are the answers that greedy decoding reproduces. ``perplexity`` is exp
    of the mean negative log-likelihood of all tokens.
    """
    import torch

    loss = tokens = matched = rows = 0.0
    for logits, targets in answers:
        predicted = torch.from_numpy(logits)
        loss += float(torch.nn.functional.cross_entropy(predicted, targets, reduction="sum"))
        tokens += len(targets)
        matched += bool((predicted.argmax(-1) == targets).all())
        rows += 1
    return {"exact_match": matched / rows, "perplexity": math.exp(min(loss / tokens, 700.0))}
