"""Drift of lengths, words and labels."""

import random

import pytest

from framework.requestlog.drift import LEAST, Reference, Sample, index_of, psi


def samples(count, seed, *, length=20, vocabulary=200, labels=(), bad=0):
    chosen = random.Random(seed)
    found = []
    for number in range(count):
        size = max(1, round(chosen.gauss(length, 5)))
        prompt = tuple(f"w{chosen.randrange(vocabulary)}" for _ in range(size))
        answer = None if labels else prompt[: size // 2]
        found.append(Sample(prompt, answer, chosen.choice(labels) if labels else None, number < bad))
    return found


def test_nothing_is_found_where_nothing_changed():
    usual = Reference(samples(500, 1))
    for seed in range(2, 12):
        drift = usual.compare(samples(500, seed))
        assert max(drift.psi.values()) < 0.1
        assert max(drift.sigmas.values()) < 0.5
        assert drift.unseen < 0.02
        assert drift.bad_in_a_row == 0


def test_longer_prompts_other_words_and_bad_answers_are_found():
    usual = Reference(samples(500, 1))
    longer = usual.compare(samples(500, 2, length=32))
    assert longer.psi["prompt_words"] > 0.25
    assert longer.sigmas["prompt_words"] > 2
    assert longer.unseen < 0.02
    other = usual.compare(samples(500, 3, vocabulary=400))
    assert other.unseen == pytest.approx(0.5, abs=0.05)
    assert other.psi["prompt_words"] < 0.1
    assert usual.compare(samples(500, 4, bad=12)).bad_in_a_row == 12


def test_shifted_labels_are_found():
    usual = Reference(samples(400, 1, labels="abc"))
    assert usual.compare(samples(400, 2, labels="abc")).psi["label"] < 0.05
    shifted = usual.compare(samples(400, 3, labels="aaab"))
    assert shifted.psi["label"] > 0.25
    assert "answer_words" not in shifted.psi
    new = usual.compare(samples(400, 4, labels="abcd"))
    assert new.psi["label"] > 0.25


def test_few_samples_say_nothing():
    assert Reference(samples(LEAST - 1, 1)).compare(samples(500, 2)) is None
    assert Reference(samples(500, 1)).compare(samples(LEAST - 1, 2)) is None


def test_index_equals_its_definition_and_constant_lengths_are_no_error():
    # Half a count is added to each: (50.5, 50.5) of 101 and (25.5, 75.5) of 101.
    assert index_of([50, 50], [25, 75]) == pytest.approx(0.2694, abs=1e-3)
    assert psi([3.0] * 100, [3.0] * 100) == 0
    assert min(psi([3.0] * 100, [other] * 100) for other in (2.0, 4.0)) > 1
