import numpy as np
import pytest
import torch

from framework.build.evaluation.held_out import HeldOut
from framework.build.task import LABEL_MASK as M
from framework.build.task import open_task

TASK = open_task("token-classification")
# O B-x I-x E-x S-x; the first and last token of a row are the encoder's own.
ROWS = [
    (torch.tensor([1, 7, 8, 9, 2]), torch.tensor([M, 1, M, 3, M])),
    (torch.tensor([1, 5, 6, 2]), torch.tensor([M, 4, 0, M])),
]


class Tagger:
    """An engine that returns fixed tags for rows of each length."""

    def __init__(self, *tags: list[int]) -> None:
        self.tags = {len(row): row for row in tags}

    def logits(self, rows):
        return [np.eye(5, dtype=np.float32)[self.tags[len(row)]] for row in rows]


def test_loss_covers_only_first_tokens_of_words() -> None:
    batch = TASK.collate(ROWS, pad=0)
    assert batch["labels"].tolist() == [[M, 1, M, 3, M], [M, 4, 0, M, M]]
    assert sum(TASK.weight(labels) for _, labels in ROWS) == 4
    logits = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    loss = TASK.loss(lambda input_ids, attention_mask: type("Out", (), {"logits": logits}), dict(batch))
    shares = logits.log_softmax(-1)
    by_hand = -(shares[0, 1, 1] + shares[0, 3, 3] + shares[1, 1, 4] + shares[1, 2, 0])
    assert float(loss) == pytest.approx(float(by_hand), rel=1e-6)


def test_span_counts_only_if_it_is_complete() -> None:
    right = Tagger([0, 1, 0, 3, 0], [0, 4, 0, 0])
    assert HeldOut().measure(right, TASK.name, ROWS) == {"span_f1": 1.0, "accuracy": 1.0}
    # The end of the first span is missed: it is no span then. One of two is found, and nothing else.
    half = HeldOut().measure(Tagger([0, 1, 0, 0, 0], [0, 4, 0, 0]), TASK.name, ROWS)
    assert half == {"span_f1": pytest.approx(2 / 3), "accuracy": 0.75}
    # Two single words instead of one span of two are wrong twice.
    split = HeldOut().measure(Tagger([0, 4, 0, 4, 0], [0, 4, 0, 0]), TASK.name, ROWS)
    assert split == {"span_f1": pytest.approx(2 / 5), "accuracy": 0.5}
    assert tuple(half) == HeldOut().metrics(TASK.name)


def test_cut_row_keeps_its_end_token_and_a_label() -> None:
    ids, labels = [1, 7, 8, 9, 2], [M, 1, M, 3, M]
    assert TASK.cut(ids, labels, 4) == ([1, 7, 8, 2], [M, 1, M, M])
    assert TASK.cut(ids, [M, M, M, 3, M], 4) is None
