import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from framework.build.engine import open_engine
from framework.build.evaluation.held_out import HeldOut
from framework.build.training.batches import read_examples
from framework.core.gates import Bound


class Fixed:
    """An engine with fixed logits, so that metrics can be computed by hand."""

    ends = frozenset({0})

    def __init__(self, logits: dict[tuple[int, ...], list[list[float]]]) -> None:
        self.given = logits

    def generate(self, prompt: object, limit: int) -> Iterator[int]:
        raise AssertionError("teacher forcing generates nothing")

    def logits(self, rows: Sequence[Sequence[int]]) -> list[np.ndarray]:
        return [np.array(self.given[tuple(row)], np.float32) for row in rows]

    def classify(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        return np.concatenate(self.logits(rows))


def example(ids: list[int], labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(ids), torch.tensor(labels)


def test_perplexity_and_exact_match_of_a_known_case() -> None:
    half, third = [math.log(0.5), math.log(0.3), math.log(0.2)], [math.log(1 / 3)] * 3
    engine = Fixed({(1, 0, 2): [half, third, third], (2, 1, 0): [third, half, third]})
    rows = [example([1, 0, 2], [-100, 0, -100]), example([2, 1, 0], [-100, 1, 0])]
    found = HeldOut().measure(engine, "causal-lm", rows)
    # Labeled: 0 after 1 (0.5, arg-max), 1 after 2 (1/3, a tie that arg-max gives to 0), 0 after 1 (0.5).
    assert found["perplexity"] == pytest.approx(math.exp(-(2 * math.log(0.5) + math.log(1 / 3)) / 3))
    assert found["exact_match"] == 0.5
    assert tuple(found) == HeldOut().metrics("causal-lm")


@pytest.mark.parametrize(
    ("labels", "stops"),
    [
        ([-100, 2, 0, -100, 2, 0], 0.5),  # given the first answer an end follows, given the second none
        ([-100, 2, 0, -100, -100, -100], 1.0),
        ([-100, 2, 0, -100, 2, -100], 1.0),  # the second answer was truncated
        ([-100, 2, -100, -100, -100, -100], 0.0),  # no answer ends: such a model never learns to stop
        ([1, 2, 0, 1, 2, 0], None),  # a document is not asked for
    ],
)
def test_stops_is_the_share_of_answers_that_end(labels: list[int], stops: float | None) -> None:
    one, end = [0.0, 9.0, 0.0], [9.0, 0.0, 0.0]
    engine = Fixed({(1, 2, 0, 1, 2, 0): [one, end, one, one, one, one]})
    found = HeldOut().measure(engine, "causal-lm", [example([1, 2, 0, 1, 2, 0], labels)])
    assert found.get("stops") == stops


def test_rows_limits_the_evaluated_rows() -> None:
    sure = [[100.0, 0.0], [100.0, 0.0]]
    engine = Fixed({(1, 0): sure, (1, 1): sure})
    rows = [example([1, 0], [-100, 0]), example([1, 1], [-100, 1])]
    assert HeldOut(rows=1).measure(engine, "causal-lm", rows)["exact_match"] == 1.0
    assert HeldOut().measure(engine, "causal-lm", rows)["exact_match"] == 0.5


def test_perplexity_is_finite_for_a_bad_model() -> None:
    engine = Fixed({(1, 0): [[0.0, 1e6], [0.0, 0.0]]})
    found = HeldOut().measure(engine, "causal-lm", [example([1, 0], [-100, 0])])
    assert math.isfinite(found["perplexity"])


def test_accuracy_and_macro_f1_of_a_known_case() -> None:
    scores = [[2.0, 1, 0], [2, 1, 0], [0, 2, 1], [0, 2, 1], [0, 2, 1], [2, 0, 1]]
    wanted = [0, 0, 1, 0, 1, 2]
    engine = Fixed({(index,): [row] for index, row in enumerate(scores)})
    rows = [example([index], [label]) for index, label in enumerate(wanted)]
    found = HeldOut().measure(engine, "sequence-classification", rows)
    # Guessed 0 0 1 1 1 0: class 0 has 2 of 3 found, 2 of 3 right; class 1 2 of 2 and 2 of 3; class 2 none.
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert tuple(found) == HeldOut().metrics("sequence-classification")


def test_exact_match_equals_greedy_generation(tiny_tuned: Path, tiny_base: Path, tiny_data: Path) -> None:
    """Teacher forcing is one forward pass a row; compare it with real generation, row by row."""
    rows = [*read_examples(tiny_data / "test"), *read_examples(tiny_data / "train")]
    verdicts = set()
    for folder in (tiny_tuned, tiny_base):
        engine = open_engine("torch", folder)
        end = 258
        for ids, labels in rows:
            start = int((labels != -100).int().argmax())
            answer = [int(label) for label in labels if label != -100]
            assert answer[-1] == end
            written = [*engine.generate(ids[:start].tolist(), len(answer)), end]
            found = HeldOut().measure(engine, "causal-lm", [(ids, labels)])["exact_match"]
            assert found == float(written == answer)
            verdicts.add(found)
    assert verdicts == {0.0, 1.0}  # both happen, or this would prove nothing


def test_perplexity_equals_that_of_transformers(tiny_tuned: Path, tiny_data: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_tuned)
    rows = read_examples(tiny_data / "test")
    total, tokens = 0.0, 0
    with torch.no_grad():
        for ids, labels in rows:
            kept = int((labels[1:] != -100).sum())
            total += float(model(input_ids=ids[None], labels=labels[None]).loss) * kept
            tokens += kept
    found = HeldOut().measure(open_engine("torch", tiny_tuned), "causal-lm", rows)
    assert found["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-5)


def test_bound_admits_values_inside() -> None:
    assert Bound(min=0.5).admits(0.5)
    assert not Bound(min=0.5).admits(0.4999)
    assert Bound(min=0.5, max=1).admits(1.0)
    assert not Bound(max=1).admits(1.1)
    assert not Bound(min=0).admits(math.nan)
    assert not Bound(max=0).admits(math.nan)
    assert str(Bound(min=0.5, max=1)) == ">= 0.5 and <= 1"


@pytest.mark.parametrize("sides", [{}, {"min": 2, "max": 1}])
def test_empty_or_inverted_bound_is_rejected(sides: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Bound(**sides)
