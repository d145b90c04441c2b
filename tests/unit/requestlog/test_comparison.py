"""Comparisons of two versions: error rates over simulated runs."""

import numpy as np
import pytest

from framework.requestlog.comparison import LEAST, Metric, Moments, differences, sequence, welch

RUNS, LOOKS = 400, np.arange(LEAST, 1500, 15)


def looks(values):
    """Yield the moments of the first answers at each look."""
    for count in LOOKS:
        part = values[:count]
        yield Moments(int(count), float(part.mean()), float(part.var(ddof=1)))


def decided(a, b, alpha=0.05):
    """Return the sign of the first look that excludes 0, 0 if none does."""
    for first, second in zip(looks(a), looks(b), strict=True):
        interval = sequence(first, second, alpha)
        if interval is not None and not interval[0] <= 0 <= interval[1]:
            return 1 if interval[0] > 0 else -1
    return 0


def ratings(generator, mean):
    return np.clip(np.round(generator.normal(mean, 1.1, LOOKS[-1])), 1, 5)


def test_equal_versions_stay_undecided_at_every_look():
    wrong = 0
    for seed in range(RUNS):
        generator = np.random.default_rng(seed)
        wrong += decided(ratings(generator, 3.8), ratings(generator, 3.8)) != 0
    assert wrong <= 0.05 * RUNS
    shares = 0
    for seed in range(RUNS):
        generator = np.random.default_rng(seed)
        shares += decided(*(generator.random((2, LOOKS[-1])) < 0.1).astype(float)) != 0
    assert shares <= 0.05 * RUNS


def test_looking_again_and_again_at_a_fixed_interval_would_be_wrong():
    """Why the sequence is there: the same looks with Welch's interval."""
    wrong = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        a, b = ratings(generator, 3.8), ratings(generator, 3.8)
        intervals = [welch(*pair, 0.05) for pair in zip(looks(a), looks(b), strict=True)]
        wrong += any(not low <= 0 <= high for low, high in intervals)
    assert wrong > 15


@pytest.mark.parametrize("difference", [0.35, -0.35])
def test_a_planted_difference_is_found(difference):
    found = []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        found.append(decided(ratings(generator, 3.5), ratings(generator, 3.5 + difference)))
    assert found.count(1 if difference > 0 else -1) >= 57
    assert found.count(-1 if difference > 0 else 1) == 0


def test_intervals_cover_the_truth_as_often_as_they_say():
    metric, hits = [], 0
    for seed in range(RUNS):
        generator = np.random.default_rng(seed)
        a, b = (int((generator.random(200) < share).sum()) for share in (0.3, 0.4))
        metric = [Metric("done", Moments.of_share(a, 200), Moments.of_share(b, 200), True, True)]
        ((low, high),) = [each.interval for each in differences(metric, 0.05)]
        hits += low <= 0.1 <= high
    assert 0.92 <= hits / RUNS <= 0.98


def test_verdicts_follow_the_direction_and_wait_for_answers():
    fast, slow = Moments.of([1.0, 1.1, 0.9] * 40), Moments.of([2.0, 2.1, 1.9] * 40)
    (slower,) = differences([Metric("seconds", fast, slow, False, False)], 0.05)
    (faster,) = differences([Metric("seconds", slow, fast, False, False)], 0.05)
    assert (slower.verdict, faster.verdict) == ("worse", "better")
    few = Moments.of([5.0] * (LEAST - 1))
    (early,) = differences([Metric("rating", few, Moments.of([1.0] * 500), False, True)], 0.05)
    assert (early.verdict, early.always) == ("undecided", None)
    (none,) = differences([Metric("rating", Moments.of([]), fast, False, True)], 0.05)
    assert (none.verdict, none.interval) == ("undecided", None)
