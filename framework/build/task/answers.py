"""Score answers by teacher forcing: exact match, stops, perplexity. It knows logits and tokens, no task."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

STOPS = "stops"
METRICS = ("exact_match", STOPS, "perplexity")


@dataclass(frozen=True)
class Scored:
    """One row: its logits and what they should predict."""

    logits: "np.ndarray"
    """(tokens, vocabulary), float32."""
    targets: "Tensor"
    """(tokens,), int64."""
    last: Sequence[int]
    """The positions of the answers' last tokens; none for a document."""


def score(rows: Iterable[Scored], ends: Collection[int]) -> dict[str, float]:
    """Return metrics of *rows*.

    ``exact_match`` is the share of rows in which every token is the argmax, given the target tokens before
    it. By induction, these are the answers that greedy decoding reproduces. ``perplexity`` is exp of the mean
    negative log-likelihood of all tokens.

    ``stops`` is the share of answers that end by themselves: given a whole answer, the argmax is one of
    *ends*, the tokens at which the server stops. Answers that were truncated do not count; it is 0 if no
    answer ends with such a token. Documents are not asked for, so it is missing where there are only those.
    """
    import torch

    loss = tokens = matched = count = 0.0
    answers, stopped = 0, []
    for row in rows:
        predicted = torch.from_numpy(row.logits)
        loss += float(torch.nn.functional.cross_entropy(predicted, row.targets, reduction="sum"))
        tokens += len(row.targets)
        best = predicted.argmax(-1)
        matched += bool((best == row.targets).all())
        count += 1
        answers += len(row.last)
        stopped += [int(best[at]) in ends for at in row.last if int(row.targets[at]) in ends]
    stops = {STOPS: sum(stopped) / len(stopped) if stopped else 0.0} if answers else {}
    return {"exact_match": matched / count, **stops, "perplexity": math.exp(min(loss / tokens, 700.0))}
