"""Texts of random words whose similarity is planned."""

import random


def random_text(source: random.Random, words: int) -> str:
    """Return random words, of which there are 5,000 different ones."""
    return " ".join(f"w{source.randrange(5000)}" for _ in range(words))


def copy_of(text: str, source: random.Random, similarity: float) -> str:
    """Return *text* with words replaced, far apart, so that its 5-grams have the Jaccard *similarity*."""
    words = text.split()
    grams = len(words) - 4
    # A replaced word changes five n-grams on both sides: J = (n - 5k) / (n + 5k).
    replaced = round(grams * (1 - similarity) / (1 + similarity) / 5)
    step = len(words) // (replaced + 1)
    for number in range(replaced):
        words[step * (number + 1)] = f"x{source.randrange(10**6)}"
    return " ".join(words)
