"""Selecting on planted rows: what is found of what was planted, and how many of the others."""

import json
import random
from pathlib import Path

import pytest

from framework.build.select.diversity import Diversity
from framework.build.select.importance import Importance
from framework.build.select.labels import Labels
from framework.build.select.target import Target
from framework.core.errors import DataError

_DOMAIN = [f"money{number}" for number in range(20)]
_GENERAL = [f"village{number}" for number in range(20)]
_COMMON = [f"the{number}" for number in range(20)]
SHARE = 0.1


def document(words: list[str], draw: random.Random, share: float = 1 / 3) -> str:
    """Return thirty words, of which *share* say what it is about."""
    return " ".join(draw.choice(words if draw.random() < share else _COMMON) for _ in range(30))


@pytest.fixture(scope="module")
def planted() -> tuple[list[str], set[int]]:
    """Return 2,000 documents, and the lines of the tenth that is of the domain."""
    draw = random.Random(2)
    inside = [draw.random() < SHARE for _ in range(2000)]
    documents = [document(_DOMAIN if one else _GENERAL, draw) for one in inside]
    return documents, {line for line, one in enumerate(inside, 1) if one}


@pytest.fixture
def examples(tmp_path: Path) -> str:
    """Return a file of fifty documents of the domain."""
    draw = random.Random(3)
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps({"text": document(_DOMAIN, draw)}) + "\n" for _ in range(50)))
    return str(file)


def precision(taken: list[int], wanted: set[int]) -> float:
    return len(wanted.intersection(taken)) / len(taken)


def test_target_takes_the_rows_that_are_like_the_examples(select, planted, examples):
    documents, wanted = planted
    taken = select(Target(target=examples, rows=len(wanted)), documents)
    assert len(taken) == len(wanted)
    assert precision(taken, wanted) > 0.95
    again = Target(target=examples, share=len(wanted) / len(documents), workers=2)
    assert select(again, documents) == taken


def test_importance_draws_rows_like_the_examples_and_another_seed_draws_others(select, planted, examples):
    documents, wanted = planted
    taken = select(Importance(target=examples, rows=150), documents)
    assert len(taken) == 150
    assert precision(taken, wanted) > 0.95
    assert select(Importance(target=examples, rows=150), documents) == taken
    assert select(Importance(target=examples, rows=150, seed=1), documents) != taken


def test_diversity_keeps_rare_kinds(select):
    draw = random.Random(4)
    kinds = [[f"{kind}{word}" for word in range(12)] for kind in "abcde"]
    weights = [0.9, 0.04, 0.03, 0.02, 0.01]
    of = draw.choices(range(5), weights, k=1500)
    documents = [document(kinds[kind], draw, 2 / 3) for kind in of]
    taken = select(Diversity(share=0.1, groups=10), documents)
    assert len(taken) == 150
    rare = sum(of[line - 1] != 0 for line in taken) / len(taken)
    assert rare > 2 * (1 - weights[0])  # a random tenth has 0.1 of them


def test_labels_are_balanced(select):
    rows = [{"text": f"text {n}", "label": "good" if n % 5 else "bad"} for n in range(100)]
    taken = select(Labels(ratio=1.5), rows)
    labels = [rows[line - 1]["label"] for line in taken]
    assert (labels.count("bad"), labels.count("good")) == (20, 30)
    assert taken == sorted(taken)


def test_rows_without_a_label_cannot_be_balanced(select):
    with pytest.raises(DataError, match=r"train\.jsonl:1 has no single label"):
        select(Labels(), ["a document"])


def test_examples_without_words_are_refused(select, tmp_path):
    (tmp_path / "empty.jsonl").write_text('{"text": "…"}\n')
    for option in (Target, Importance):
        with pytest.raises(DataError, match="no row with words"):
            select(option(target=str(tmp_path / "empty.jsonl")), ["a document"])


def test_more_rows_than_there_are_takes_all(select, examples):
    assert select(Target(target=examples, rows=10), ["one", "two", "three"]) == [1, 2, 3]
