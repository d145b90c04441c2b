"""The known word that an unknown one was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the word of *known* that is spelled most like *word*, or None.

    >>> nearest("rnak", ["rank", "alpha"])
    'rank'
    >>> nearest("zzz", ["rank", "alpha"]) is None
    True
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None
