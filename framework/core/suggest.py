"""The known word that an unknown one was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the word of *known* that is spelled most like *word*, or None.

    Args:
        word: the unknown word.
        known: the words that it may have been meant to be.
        cutoff: how alike they must be, from 0 to 1.

    >>> nearest("rnak", ["rank", "alpha"])
    'rank'
    >>> nearest("zzz", ["rank", "alpha"]) is None
    True
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None
