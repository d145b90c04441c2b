"""The values that a metric can have, derived from its name."""

import math
import re

_SHARE = re.compile(r"(.*_)?(accuracy|exact_match|f1|bleu|rouge_\w|distinct_\d|agreement|stops)")
_POSITIVE = re.compile(r".*(_bytes|_ms|_seconds|_per_second|_difference|_spread)")


def metric_range(metric: str) -> tuple[float, float]:
    """Return the lowest and the highest value of *metric*; infinite where there is no limit.

    >>> metric_range("macro_f1"), metric_range("general_perplexity"), metric_range("reward_margin")
    ((0.0, 1.0), (1.0, inf), (-inf, inf))
    """
    if _SHARE.fullmatch(metric):
        return 0.0, 1.0
    if metric == "perplexity" or metric.endswith("_perplexity"):
        return 1.0, math.inf
    return (0.0, math.inf) if _POSITIVE.fullmatch(metric) else (-math.inf, math.inf)
