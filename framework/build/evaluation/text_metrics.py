"""Metrics of generated texts: BLEU and ROUGE against references, and distinct-n. It knows no model."""

from collections.abc import Sequence

METRICS = ("bleu", "rouge_1", "rouge_l", "distinct_1", "distinct_2")


def compare(generated: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Return metrics of *generated* texts, each against its reference; all are between 0 and 1.

    ``bleu`` is SacreBLEU over the whole corpus (Post, 2018, arXiv:1804.08771). ``rouge_1`` and ``rouge_l``
    are the mean F1 of words and of the longest common subsequence (Lin, 2004), without stemming. For
    ``distinct_n`` see ``distinct``.
    """
    from torchmetrics.functional.text import rouge_score, sacre_bleu_score

    rouge = rouge_score(list(generated), list(references), rouge_keys=("rouge1", "rougeL"))
    return {
        "bleu": float(sacre_bleu_score(list(generated), [[text] for text in references])),
        "rouge_1": float(rouge["rouge1_fmeasure"]),
        "rouge_l": float(rouge["rougeL_fmeasure"]),
        "distinct_1": distinct(generated, 1),
        "distinct_2": distinct(generated, 2),
    }


def distinct(texts: Sequence[str], size: int) -> float:
    """Return the share of distinct n-grams among all n-grams of *size* words.

    Source: Li et al., 2016, arXiv:1510.03055.

    >>> distinct(["a b a b", "c"], 1), distinct(["a b a b", "c"], 2)
    (0.6, 0.6666666666666666)
    """
    ngrams = []
    for text in texts:
        words = text.split()
        ngrams += [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0
