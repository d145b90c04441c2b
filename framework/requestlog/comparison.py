"""Compare two groups of answers: differences with confidence, and when to stop looking.

Two intervals are given for each difference. The first holds for one look at a size fixed beforehand. The
second, a confidence sequence, holds at all looks together, so that a comparison may end as soon as it
excludes 0.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

LEAST = 30
"""A group with fewer answers decides nothing."""
_MIXTURE = 0.1
"""Standard deviation of the mixture of the sequential test, in standard deviations of the metric."""


@dataclass(frozen=True)
class Moments:
    """A group's answers, as far as a comparison needs them."""

    count: int
    mean: float
    variance: float
    """Unbiased; of a share, that of its estimate with one success and one failure added."""

    @classmethod
    def of(cls, values: Iterable[float]) -> "Moments":
        """Return those of measured values."""
        several = list(values)
        count = len(several)
        mean = math.fsum(several) / count if count else 0.0
        squares = math.fsum((value - mean) ** 2 for value in several)
        return cls(count, mean, squares / (count - 1) if count > 1 else 0.0)

    @classmethod
    def of_share(cls, successes: int, count: int) -> "Moments":
        """Return those of a share."""
        share = (successes + 1) / (count + 2)
        return cls(count, successes / count if count else 0.0, share * (1 - share))


Interval = tuple[float, float]


def newcombe(a: Moments, b: Moments, alpha: float) -> Interval:
    """Return the interval of the difference b - a of two shares.

    Newcombe, "Interval estimation for the difference between independent proportions" (Statistics in
    Medicine, 1998), method 10, from Wilson's score intervals.

    >>> a, b = Moments.of_share(48, 80), Moments.of_share(56, 70)
    >>> [round(bound, 4) for bound in newcombe(a, b, 0.05)]
    [0.0524, 0.3339]
    """
    (low_a, high_a), (low_b, high_b) = wilson(a, alpha), wilson(b, alpha)
    difference = b.mean - a.mean
    return (
        difference - math.hypot(b.mean - low_b, high_a - a.mean),
        difference + math.hypot(high_b - b.mean, a.mean - low_a),
    )


def wilson(share: Moments, alpha: float) -> Interval:
    """Return Wilson's score interval of a share (Wilson, JASA 1927).

    >>> [round(bound, 4) for bound in wilson(Moments.of_share(81, 263), 0.05)]
    [0.2553, 0.3662]
    """
    z, n, p = NormalDist().inv_cdf(1 - alpha / 2), share.count, share.mean
    center, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (center - spread) / (1 + z * z / n), (center + spread) / (1 + z * z / n)


def welch(a: Moments, b: Moments, alpha: float) -> Interval:
    """Return the interval of the difference b - a of two means (Welch, Biometrika 1947)."""
    parts = a.variance / a.count, b.variance / b.count
    error = sum(parts)
    if error == 0:
        return b.mean - a.mean, b.mean - a.mean
    freedom = error**2 / (parts[0] ** 2 / (a.count - 1) + parts[1] ** 2 / (b.count - 1))
    half = student_quantile(1 - alpha / 2, freedom) * math.sqrt(error)
    return b.mean - a.mean - half, b.mean - a.mean + half


def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's distribution (Abramowitz and Stegun, 26.7.5).

    >>> round(student_quantile(0.975, 30), 3), round(student_quantile(0.975, 8), 2)
    (2.042, 2.31)
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))


def sequence(a: Moments, b: Moments, alpha: float) -> Interval | None:
    """Return an interval of the difference b - a that holds at every look together; None if it is too early.

    It is the confidence sequence of the mixture sequential probability ratio test with a normal mixture:
    Johari, Koomen, Pekelis and Walsh, "Peeking at A/B Tests" (KDD 2017), section 4. It relies on means that
    are nearly normal, which is why it starts at ``LEAST`` answers.
    """
    if min(a.count, b.count) < LEAST:
        return None
    error = a.variance / a.count + b.variance / b.count
    if error == 0:
        return b.mean - a.mean, b.mean - a.mean
    mixture = _MIXTURE**2 * (a.variance + b.variance) / 2
    scale = error * (error + mixture) / mixture
    half = math.sqrt(scale * (2 * math.log(1 / alpha) + math.log((error + mixture) / error)))
    return b.mean - a.mean - half, b.mean - a.mean + half


@dataclass(frozen=True)
class Metric:
    """Something that both groups were measured by."""

    name: str
    a: Moments
    b: Moments
    is_share: bool
    more_is_better: bool


@dataclass(frozen=True)
class Difference:
    """What is known of one metric's difference b - a."""

    metric: Metric
    interval: Interval | None
    """Holds for one look; None if a group has too few answers."""
    always: Interval | None
    """Holds at all looks together; None before ``LEAST`` answers."""

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``undecided``: what is known of b."""
        if self.always is None or self.always[0] <= 0 <= self.always[1]:
            return "undecided"
        return "better" if (self.always[0] > 0) == self.metric.more_is_better else "worse"


def differences(metrics: Sequence[Metric], alpha: float) -> list[Difference]:
    """Return every metric's difference.

    Args:
        metrics: what was measured.
        alpha: the probability that any verdict is wrong if nothing differs, at all looks and for all metrics
            together; each metric gets an equal part.
    """
    part = alpha / max(len(metrics), 1)
    found = []
    for metric in metrics:
        enough = min(metric.a.count, metric.b.count) >= 2
        interval = (newcombe if metric.is_share else welch)(metric.a, metric.b, alpha) if enough else None
        found.append(Difference(metric, interval, sequence(metric.a, metric.b, part)))
    return found
