"""When an answer is plainly bad, judged in microseconds and without a second model.

An answer is bad if it says nothing, if it ran into the server's own limit without coming to an end, or
if it repeats itself. Whether a good-looking answer is *right* nobody knows here: that is what feedback
and evaluation are for. Knows no server and no Prometheus.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

LEAST_UNITS = 20
"""Words below which an answer is too short to be called repetitive."""
LEAST_DIVERSITY = 0.3
"""Share of distinct word pairs below which a longer answer repeats itself; prose has above 0.8."""
MOST_UNITS = 2000
"""Words of an answer's end that are looked at, so that a long answer costs no more than this."""

Reason = Literal["empty", "cut", "repeated"]


@dataclass(frozen=True)
class Judgement:
    """What is known about one whole answer."""

    reason: Reason | None
    """Why it is bad; None where nothing plain is wrong with it."""
    diversity: float
    """Distinct pairs of neighbouring words over all pairs, 0 to 1; 1 where there is no pair."""


class Run:
    """How many bad answers came one after another."""

    def __init__(self) -> None:
        self.length = 0

    def add(self, judgement: Judgement) -> None:
        """Take the next whole answer into account; a good one ends the run."""
        self.length = 0 if judgement.reason is None else self.length + 1


def judge(text: str, *, cut: bool) -> Judgement:
    r"""Judge one whole answer.

    Args:
        text: the answer.
        cut: whether it ended at a limit that the client did not ask for.

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
    return Judgement(reason, diversity)


def _units(text: str) -> list[str]:
    """Return the last words, or the last characters of a script that puts no spaces between words."""
    words = text.split()
    if sum(map(len, words)) > 20 * len(words):
        words = list("".join(words))
    return words[-MOST_UNITS:]


def _distinct_pairs(units: list[str]) -> float:
    """Return distinct-2 (Li et al. 2016, "A Diversity-Promoting Objective Function", section 5)."""
    pairs = list(pairwise(units))
    return len(set(pairs)) / len(pairs) if pairs else 1.0
