"""Detect obviously bad answers, in microseconds and without a second model.

An answer is bad if it is empty, if it was cut at the server's own limit, or if it repeats itself. Whether
it is correct is left to feedback and evaluation. This module knows neither server nor Prometheus.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

LEAST_UNITS = 20
"""An answer with fewer words is too short to count as repetitive."""
LEAST_DIVERSITY = 0.3
"""A longer answer with a smaller share of distinct word pairs is repetitive; prose has over 0.8."""
MOST_UNITS = 2000
"""Only so many words at an answer's end are examined, which bounds the cost."""

Reason = Literal["empty", "cut", "repeated"]


@dataclass(frozen=True)
class Judgment:
    """The quality of one complete answer."""

    reason: Reason | None
    """Why it is bad; None if it is not."""
    diversity: float
    """Distinct pairs of neighboring words over all pairs, 0 to 1; 1 if there is no pair."""


class BadStreak:
    """The number of consecutive bad answers."""

    def __init__(self) -> None:
        self.length = 0

    def add(self, judgment: Judgment) -> None:
        """Count the next complete answer; a good one resets the streak."""
        self.length = 0 if judgment.reason is None else self.length + 1


def judge(text: str, *, cut: bool) -> Judgment:
    r"""Judge one complete answer.

    Args:
        text: the answer.
        cut: whether it ended at a limit that the client did not set.

    >>> judge("Paris is the capital of France.", cut=False).reason
    >>> judge(" \n", cut=False).reason, judge("no no no " * 10, cut=True).reason
    ('empty', 'repeated')
    """
    units = _units(text)
    diversity = _distinct_pairs(units)
    reason: Reason | None = None
    if not units:
        reason = "empty"
    elif len(units) >= LEAST_UNITS and diversity < LEAST_DIVERSITY:
        reason = "repeated"
    elif cut:
        reason = "cut"
    return Judgment(reason, diversity)


def _units(text: str) -> list[str]:
    """Return the last words, or the last characters of a script without spaces between words."""
    words = text.split()
    if sum(map(len, words)) > 20 * len(words):
        words = list("".join(words))
    return words[-MOST_UNITS:]


def _distinct_pairs(units: list[str]) -> float:
    """Return distinct-2 (Li et al. 2016, "A Diversity-Promoting Objective Function", section 5)."""
    pairs = list(pairwise(units))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
