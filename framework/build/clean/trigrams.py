"""A trigram model of words, counted in hashed tables of bounded size.

Each order is smoothed by the one below it with a Dirichlet prior (MacKay and Peto 1995), so that
probabilities sum to one; the lowest has a uniform prior over a vocabulary of fixed size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framework.build.clean.word_ngrams import word_hashes

if TYPE_CHECKING:
    import numpy as np

MOST_WORDS = 4_000_000
"""Words that may be counted: with more, too many n-grams would share a place in the largest tables."""
_LARGEST = (2**21, 2**23, 2**24)
"""Places for 1-, 2- and 3-grams, of 4 bytes each."""
_PRIOR = 4.0
"""How many occurrences of a context the order below counts as."""
_VOCABULARY = 200_000
_UNSEEN = 0.1
"""How many occurrences every word of the vocabulary has beforehand."""
_FACTOR = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class _Hashed:
    """The n-grams of several texts, each with two words before its first that stand for its beginning."""

    grams: "tuple[np.ndarray, ...]"
    """Hashes of the 1-, 2- and 3-grams that end at each word, of all texts one after the other."""
    texts: "np.ndarray"
    """The number of the text of each word."""
    real: "np.ndarray"
    """Whether it is a word of the text."""


class Trigrams:
    """Counts of 1-, 2- and 3-grams, and the perplexity of texts under them."""

    def __init__(self, words: int) -> None:
        """Start with no counts.

        Args:
            words: about how many are going to be counted; it decides the size of the tables.
        """
        import numpy as np

        wanted = 1 << max(8 * words, 1024).bit_length()
        self._tables = [np.zeros(min(wanted, most), np.uint32) for most in _LARGEST]
        self.words = 0
        """Words counted so far."""

    def count(self, texts: Sequence[Sequence[str]]) -> None:
        """Add the words of *texts*."""
        import numpy as np

        hashed = _hash(texts)
        self.words += int(hashed.real.sum())
        for order, table in enumerate(self._tables):
            # The n-gram that ends at a word of the beginning is counted as a context of the next.
            grams = hashed.grams[order] if order < 2 else hashed.grams[order][hashed.real]
            places, counts = np.unique(grams & np.uint64(len(table) - 1), return_counts=True)
            table[places] += counts.astype(np.uint32)

    def perplexities(self, texts: Sequence[Sequence[str]], counted: "np.ndarray") -> "np.ndarray":
        """Return the perplexity of each text per word; NaN for a text without words.

        Args:
            texts: the words of each text.
            counted: for each text, whether ``count`` got it. Its own counts are then taken off, since every
                text is likely by what it says itself.
        """
        import numpy as np

        hashed = _hash(texts)
        counts = [
            self._seen(order, grams) - _own(grams, hashed.texts) * counted[hashed.texts]
            for order, grams in enumerate(hashed.grams)
        ]
        probability = (counts[0] + _UNSEEN) / (self.words + _UNSEEN * _VOCABULARY)
        for order in (1, 2):
            context = np.concatenate([[0.0], counts[order - 1][:-1]])
            probability = (np.minimum(counts[order], context) + _PRIOR * probability) / (context + _PRIOR)
        logs = np.where(hashed.real, np.log(np.maximum(probability, 1e-300)), 0.0)
        sizes = np.bincount(hashed.texts, hashed.real, minlength=len(texts))
        sums = np.bincount(hashed.texts, logs, minlength=len(texts))
        with np.errstate(invalid="ignore"):
            result: np.ndarray = np.exp(-sums / sizes)
        return result

    def _seen(self, order: int, grams: "np.ndarray") -> "np.ndarray":
        import numpy as np

        table = self._tables[order]
        seen: np.ndarray = table[grams & np.uint64(len(table) - 1)].astype(np.float64)
        return seen


def _hash(texts: Sequence[Sequence[str]]) -> _Hashed:
    import numpy as np

    sizes = np.array([len(words) + 2 for words in texts], np.int64)
    real = np.ones(int(sizes.sum()), bool)
    starts = np.cumsum(sizes) - sizes
    real[starts] = real[starts + 1] = False
    words = np.zeros(len(real), np.uint64)
    words[real] = word_hashes(texts)
    grams = [words]
    for _ in range(2):
        before = np.concatenate([np.zeros(1, np.uint64), grams[-1][:-1]])
        mixed = (before ^ np.uint64(len(grams))) * np.uint64(_FACTOR)
        mixed = (mixed ^ (mixed >> np.uint64(29)) ^ words) * np.uint64(_FACTOR)
        grams.append(mixed ^ (mixed >> np.uint64(32)))
    return _Hashed(tuple(grams), np.repeat(np.arange(len(texts)), sizes), real)


def _own(grams: "np.ndarray", texts: "np.ndarray") -> "np.ndarray":
    """Return how often each word's n-gram is in its own text."""
    import numpy as np

    within = grams ^ texts.astype(np.uint64)
    _, inverse, counts = np.unique(within, return_inverse=True, return_counts=True)
    own: np.ndarray = counts[inverse]
    return own
