"""Text embedding: the loss and the metrics, computed by hand for vectors that the tests choose."""

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from framework.build.task import open_task
from framework.build.task.text_embedding import TextEmbeddings, joined, texts_of

ANGLES = {1: 0.0, 2: 0.1, 3: 1.0, 4: 1.2, 5: -0.2, 6: 3.0, 9: math.nan}
"""The direction of the vector of a text that begins with this token."""


def row(*texts: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    ids, labels = joined(texts)
    return torch.tensor(ids), torch.tensor(labels)


class Chosen:
    """An engine, and a model of one hidden state a token, with the vectors of ``ANGLES``."""

    runtime, dimensions = "chosen", 2

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def embed(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        self.sizes.append(len(rows))
        angles = [ANGLES[text[0]] for text in rows]
        return np.array([[math.cos(angle), math.sin(angle)] for angle in angles], np.float32)

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        angles = torch.tensor([[ANGLES.get(token, 0.0) for token in text] for text in input_ids.tolist()])
        return SimpleNamespace(last_hidden_state=torch.stack([angles.cos(), angles.sin()], -1))


def test_loss_is_the_cross_entropy_of_cosines_over_the_different_passages() -> None:
    task = TextEmbeddings(temperature=0.5)
    batch = task.collate([row([1], [2, 2], [6]), row([3], [4]), row([5], [2, 2])], pad=0)
    assert batch["input_ids"].tolist() == [[1, 0], [3, 0], [5, 0], [2, 2], [6, 0], [4, 0]]
    assert batch["attention_mask"].sum(1).tolist() == [1, 1, 1, 2, 1, 1]
    assert batch["labels"].tolist() == [0, 2, 0], "the passage of two rows is there once"
    assert not batch["excluded"].any()
    expected = 0.0
    for query, target in ((1, 0), (3, 2), (5, 0)):
        logits = [math.cos(ANGLES[query] - ANGLES[passage]) / 0.5 for passage in (2, 6, 4)]
        expected += math.log(sum(map(math.exp, logits))) - logits[target]
    assert float(task.loss(Chosen(), batch)) == pytest.approx(expected, rel=1e-5)


def test_what_answers_the_same_query_elsewhere_is_no_negative() -> None:
    task = TextEmbeddings(temperature=1.0)
    batch = task.collate([row([1], [2]), row([1], [5]), row([3], [4])], pad=0)
    assert batch["excluded"].tolist() == [[False, True, False], [True, False, False], [False] * 3]
    first = task.loss(Chosen(), {**batch, "labels": batch["labels"][:1], **_only_first(batch)})
    logits = [math.cos(0.1), math.cos(1.2)]
    assert float(first) == pytest.approx(math.log(sum(map(math.exp, logits))) - logits[0], rel=1e-5)


def _only_first(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    rows = torch.tensor([0, 3, 4, 5])
    masked = {name: batch[name][rows] for name in ("input_ids", "attention_mask")}
    return {**masked, "excluded": batch["excluded"][:1]}


def test_metrics_rank_each_passage_among_all_of_the_test_rows() -> None:
    engine = Chosen()
    # To 1 (at 0.0), the nearest of 2 (0.1), 4 (1.2), 5 (-0.2) and 6 (3.0) is 2; to 3 (1.0) it is 4.
    rows = [row([1], [2]), row([1], [5]), row([3], [2]), row([1, 1], [6], [4]), row([3], [4])]
    measured = TextEmbeddings().measure(engine, rows)
    # Ranks: 1; 1, since 2 answers the same query; 1, since 4 does; 4; 1.
    assert measured == {
        "recall_at_1": pytest.approx(4 / 5),
        "recall_at_10": 1.0,
        "mrr_at_10": pytest.approx((4 + 1 / 4) / 5),
    }
    assert engine.sizes == [3, 4], "equal texts are embedded once"
    found = TextEmbeddings().retrieve(engine, rows, 4)
    assert found[3] == ((1, 1), (6,), (2,))
    assert len(found) == 4


def test_equal_or_broken_vectors_find_nothing() -> None:
    equal = [row([1, number], [1, 20 + number]) for number in range(30)]
    assert TextEmbeddings().measure(Chosen(), equal) == dict.fromkeys(TextEmbeddings.metrics, 0.0)
    broken = [row([1], [9, number]) for number in range(30)]
    measured = TextEmbeddings().measure(Chosen(), [*broken, row([3], [9])])
    assert measured["recall_at_1"] == 0.0


def test_many_queries_are_ranked_like_few(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row([1 + number % 6, number], [1 + number % 5, number]) for number in range(40)]
    whole = TextEmbeddings().measure(Chosen(), rows)
    monkeypatch.setattr("framework.build.task.text_embedding._QUERIES", 7)
    assert TextEmbeddings().measure(Chosen(), rows) == whole


def test_each_text_is_cut_alone_and_keeps_its_end() -> None:
    task = open_task("text-embedding")
    ids, labels = joined([[1, 5, 2], [1, 6, 7, 8, 2], [1, 9, 9, 9, 2]])
    assert task.length(ids, labels) == 5
    shorter = task.cut(ids, labels, 4)
    assert shorter == joined([[1, 5, 2], [1, 6, 7, 2], [1, 9, 9, 2]])
    assert task.read_together(row([1, 5, 2], [1, 6, 2], [7])) == [1, 6, 2]
    assert texts_of(row([1, 5, 2], [1, 2])) == [(1, 5, 2), (1, 2)]


def test_engines_agree_as_far_as_the_worst_cosine() -> None:
    one, other = np.eye(2, dtype=np.float32), np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    assert TextEmbeddings().agreement(one, other) == pytest.approx(0.8)
    assert open_task("sequence-classification").agreement(one, other) == 1.0
    vectors = TextEmbeddings().logits(Chosen(), [row([1], [2], [3]), row([4])])
    assert [len(of_row) for of_row in vectors] == [3, 1]
    np.testing.assert_allclose(vectors[1][0], [math.cos(1.2), math.sin(1.2)], atol=1e-6)
