"""Texts as sparse rows of word counts and TF-IDF weights, hashed so that no vocabulary is kept."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from framework.build.clean.column_files import PACKAGES as _COLUMNS
from framework.build.clean.word_ngrams import words_of

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

PACKAGES = {"scikit-learn": "select", "xxhash": "clean", **_COLUMNS}
"""What an option that compares words returns from ``requires``."""
PLACES = 2**18
"""Places of hashed words. Two words share one by chance, which is rare in one language."""


def word_counts(texts: Sequence[str], most: int = 1, places: int = PLACES) -> "csr_matrix":
    """Return how often each text has each run of up to *most* words; float64 ``[texts, places]``."""
    from sklearn.feature_extraction.text import HashingVectorizer

    counter = HashingVectorizer(
        tokenizer=words_of,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, most),
        n_features=places,
        alternate_sign=False,
        norm=None,
    )
    return counter.transform(texts)


@dataclass(frozen=True)
class TfIdf:
    """Weights of words, by how many texts of a corpus have them (Salton and Buckley 1988).

    A word weighs ``(1 + log count) * (1 + log((1 + texts) / (1 + texts with the word)))``; the weights of a
    text have the norm 1.
    """

    rarity: "np.ndarray"
    """The second factor, by place; float64."""

    @classmethod
    def of(cls, batches: Iterable[Sequence[str]]) -> Self:
        """Return the weights by the texts of *batches*; it holds 2 MB, however many there are."""
        import numpy as np

        having, texts = np.zeros(PLACES), 0
        for batch in batches:
            having += word_counts(batch).getnnz(axis=0)
            texts += len(batch)
        return cls(np.log((1 + texts) / (1 + having)) + 1)

    def weights(self, texts: Sequence[str]) -> "csr_matrix":
        """Return the weights of each text; float64 ``[texts, PLACES]``."""
        import numpy as np
        from sklearn.preprocessing import normalize

        words = word_counts(texts)
        words.data = (1 + np.log(words.data)) * self.rarity[words.indices]
        return normalize(words, copy=False)
