"""Guessing which known word was meant by an unknown one."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that *word* was probably meant to be, or None.

    >>> nearest("rnak", ["rank", "alpha"])
    'rank'
    >>> nearest("zzz", ["rank", "alpha"]) is None
    True
    """
    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
