"""Metrics of texts that were written: against the right ones, and among themselves. Knows no model."""

from collections.abc import Sequence

METRICS = ("bleu", "rouge_1", "rouge_l", "distinct_1", "distinct_2")


def compare(written: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """Return metrics of *written* texts, each against its *right* one; all are between 0 and 1.

    ``bleu`` is SacreBLEU's over the whole corpus (Post, 2018, arXiv:1804.08771), ``rouge_1`` and
    ``rouge_l`` are the mean F of words and of the longest common subsequence (Lin, 2004), without
    stemming; ``distinct_n`` see ``distinct``.
    """
    from torchmetrics.functional.text import rouge_score, sacre_bleu_score

    rouge = rouge_score(list(written), list(right), rouge_keys=("rouge1", "rougeL"))
    return {
        "bleu": float(sacre_bleu_score(list(written), [[text] for text in right])),
        "rouge_1": float(rouge["rouge1_fmeasure"]),
        "rouge_l": float(rouge["rougeL_fmeasure"]),
        "distinct_1": distinct(written, 1),
        "distinct_2": distinct(written, 2),
    }


def distinct(texts: Sequence[str], size: int) -> float:
    """Return the share of different ones among all runs of *size* words (Li et al., 2016, arXiv:1510.03055).

    >>> distinct(["a b a b", "c"], 1), distinct(["a b a b", "c"], 2)
    (0.6, 0.6666666666666666)
    """
    runs = []
    for text in texts:
        words = text.split()
        runs += [tuple(words[place : place + size]) for place in range(len(words) - size + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0
