import math

import numpy as np
import pytest
import torch

from framework.build.evaluation.held_out import HeldOut
from framework.build.task import open_task

TASK = open_task("multi-label-classification")
ROWS = [
    (torch.tensor([1, 2, 3]), torch.tensor([1, 0, 1])),
    (torch.tensor([4]), torch.tensor([0, 0, 0])),
]
LOGITS = torch.tensor([[2.0, -1.0, -0.5], [-3.0, 0.5, -1.0]])


class Classifier:
    """A model and an engine at once, whose logits are given."""

    def __call__(self, input_ids, attention_mask):
        assert input_ids.shape == attention_mask.shape == (2, 3)
        return type("Out", (), {"logits": LOGITS})

    def classify(self, rows):
        return np.stack([LOGITS[int(len(row) == 1)].numpy() for row in rows])


def test_loss_sums_every_binary_decision() -> None:
    batch = TASK.collate(ROWS, pad=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    wanted = [[1, 0, 1], [0, 0, 0]]
    by_hand = sum(
        math.log(1 + math.exp(-z if yes else z))
        for row, answers in zip(LOGITS.tolist(), wanted, strict=True)
        for z, yes in zip(row, answers, strict=True)
    )
    assert float(TASK.loss(Classifier(), batch)) == pytest.approx(by_hand, rel=1e-6)
    assert sum(TASK.weight(labels) for _, labels in ROWS) == 6


def test_metrics_match_a_manual_computation() -> None:
    found = HeldOut().measure(Classifier(), TASK.name, ROWS)
    # Said: {0} of {0, 2}, and {1} of {}: one right yes, one missed, one too many.
    assert tuple(found) == HeldOut().metrics(TASK.name)
    assert found["subset_accuracy"] == 0.0
    assert found["micro_f1"] == pytest.approx(0.5)
    assert found["macro_f1"] == pytest.approx(1 / 3)
    right = [
        (ids, torch.tensor(labels)) for (ids, _), labels in zip(ROWS, [[1, 0, 0], [0, 1, 0]], strict=True)
    ]
    assert HeldOut().measure(Classifier(), TASK.name, right)["subset_accuracy"] == 1.0


def test_logits_are_binary_for_each_class() -> None:
    first, second = TASK.logits(Classifier(), ROWS)
    assert first.shape == (3, 2)
    assert first.argmax(-1).tolist() == [1, 0, 0]
    assert second.argmax(-1).tolist() == [0, 1, 0]
