"""How far requests and answers have moved from a reference: lengths, words and labels.

It works on samples in memory, and knows neither where they come from nor what is done about them.
"""

import math
import re
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

BINS = 10
MOST_WORDS = 2000
"""Only so many words of a text's end are looked at."""
LEAST = 50
"""Fewer samples than this on either side say nothing."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Sample:
    """One request, reduced to what drift is computed from."""

    prompt: tuple[str, ...]
    """The words of what was asked."""
    answer: tuple[str, ...] | None
    """The words of the answer; None for a classifier."""
    label: str | None = None
    """A classifier's answer."""
    bad: bool = False
    """Whether the answer was judged bad."""


@dataclass(frozen=True)
class Drift:
    """What was measured."""

    psi: dict[str, float]
    """Population stability index by feature: ``prompt_words``, ``answer_words``, ``label``."""
    sigmas: dict[str, float]
    """Distance of the mean length from the reference's, in its standard deviations, by feature."""
    unseen: float
    """Share of the words of prompts that the reference has not, beyond the share that one half of the
    reference has of the other; 0 to 1."""
    bad_in_a_row: int
    """Longest run of bad answers."""

    def metrics(self) -> dict[str, float]:
        """Return every number by a name of its own, as gates name it."""
        return {
            **{f"drift.psi.{feature}": value for feature, value in self.psi.items()},
            **{f"drift.sigmas.{feature}": value for feature, value in self.sigmas.items()},
            "drift.unseen_words": self.unseen,
            "drift.bad_in_a_row": float(self.bad_in_a_row),
        }


def words(text: str) -> tuple[str, ...]:
    """Return the last words of a text, in lower case.

    >>> words("Is it 12 o'clock?")
    ('is', 'it', '12', 'o', 'clock')
    """
    # Interned: samples are kept, and share most of their words.
    return tuple(map(sys.intern, _WORD.findall(text.lower())[-MOST_WORDS:]))


class Reference:
    """What is usual: the distributions that later samples are compared with."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.size = len(samples)
        self._lengths = _lengths(samples)
        self._labels = Counter(sample.label for sample in samples if sample.label is not None)
        half = len(samples) // 2
        self._usual = _unseen(samples[half:], _vocabulary(samples[:half]))
        self._vocabulary = _vocabulary(samples)

    def compare(self, samples: Sequence[Sample]) -> Drift | None:
        """Return how far *samples* are away; None if there are too few to say."""
        if min(self.size, len(samples)) < LEAST:
            return None
        lengths = _lengths(samples)
        both = [feature for feature in self._lengths if self._lengths[feature] and lengths[feature]]
        indices = {feature: psi(self._lengths[feature], lengths[feature]) for feature in both}
        shifts = {feature: _sigmas(self._lengths[feature], lengths[feature]) for feature in both}
        labels = Counter(sample.label for sample in samples if sample.label is not None)
        if self._labels and labels:
            names = sorted({*self._labels, *labels})
            indices["label"] = index_of(
                [self._labels[name] for name in names], [labels[name] for name in names]
            )
        unseen = max(0.0, _unseen(samples, self._vocabulary) - self._usual)
        return Drift(indices, shifts, unseen, _longest_run(samples))


def psi(reference: Sequence[float], current: Sequence[float]) -> float:
    """Return the population stability index over the deciles of *reference*, and what is beyond its ends.

    Siddiqi, "Credit Risk Scorecards" (2006): below 0.1 nothing has changed, above 0.25 much has. Without any
    change it is about 9 (1/n + 1/m) for n and m values.

    >>> usual = list(range(100))
    >>> round(psi(usual, usual), 3), psi(usual, [value + 50 for value in usual]) > 1
    (0.0, True)
    """
    ordered = sorted(reference)
    inner = {ordered[len(ordered) * number // BINS] for number in range(1, BINS)}
    edges = sorted({ordered[0] - 0.5, *inner, ordered[-1]})  # also a reference of equal lengths has ends

    def counts(values: Sequence[float]) -> list[int]:
        found = Counter(bisect_left(edges, value) for value in values)
        return [found[place] for place in range(len(edges) + 1)]

    return index_of(counts(reference), counts(current))


def index_of(reference: Sequence[int], current: Sequence[int]) -> float:
    """Return the population stability index of two lists of counts; half a count is added to each."""
    size = len(reference) / 2
    before = [(count + 0.5) / (sum(reference) + size) for count in reference]
    now = [(count + 0.5) / (sum(current) + size) for count in current]
    return sum((q - p) * math.log(q / p) for p, q in zip(before, now, strict=True))


def _lengths(samples: Iterable[Sample]) -> dict[str, list[float]]:
    several = list(samples)
    answers = [sample.answer for sample in several if sample.answer is not None]
    return {
        "prompt_words": [float(len(sample.prompt)) for sample in several],
        "answer_words": [float(len(answer)) for answer in answers],
    }


def _sigmas(reference: Sequence[float], current: Sequence[float]) -> float:
    """Return the distance of the means; the deviation is at least half a word."""
    return abs(fmean(current) - fmean(reference)) / max(pstdev(reference), 0.5)


def _vocabulary(samples: Iterable[Sample]) -> frozenset[str]:
    return frozenset(word for sample in samples for word in sample.prompt)


def _unseen(samples: Iterable[Sample], vocabulary: frozenset[str]) -> float:
    unseen = total = 0
    for sample in samples:
        total += len(sample.prompt)
        unseen += sum(word not in vocabulary for word in sample.prompt)
    return unseen / total if total else 0.0


def _longest_run(samples: Iterable[Sample]) -> int:
    longest = run = 0
    for sample in samples:
        run = run + 1 if sample.bad else 0
        longest = max(longest, run)
    return longest
