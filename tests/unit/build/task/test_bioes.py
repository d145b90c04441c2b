"""Spans as in CoNLL's strict evaluation, and invalid tag sequences."""

import random
import warnings

import pytest

from framework.build.task.bioes import spans, tag_names, to_bioes


def test_bio_becomes_bioes() -> None:
    given = ["O", "B-x", "B-x", "I-x", "O", "B-y", "I-y", "I-y", "B-y", "B-x", "I-x"]
    assert to_bioes(given) == ["O", "S-x", "B-x", "E-x", "O", "B-y", "I-y", "E-y", "S-y", "B-x", "E-x"]


def test_bioes_is_unchanged() -> None:
    given = ["S-x", "B-y", "I-y", "E-y", "O", "S-y"]
    assert to_bioes(given) == given


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("O I-x", "tag 2 is 'I-x', but no span of x"),
        ("B-y I-x", "tag 2 is 'I-x', but no span of x"),
        ("S-x E-x", "tag 2 is 'E-x', but no span of x"),
        ("B-x O S-y", "tag 2 is 'O', but the span of x"),
        ("S-y B-x I-x", "tag 3 is 'I-x', but the span of x"),
        ("U-x", "tag 1 is 'U-x';"),
        ("O B-", "tag 2 is 'B-';"),
        ("O x", "tag 2 is 'x';"),
    ],
)
def test_ill_formed_tags_are_located(tags: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_bioes(tags.split())


def test_spans_equal_those_of_strict_seqeval() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from seqeval.scheme import IOBES, Entities
    names, draw = tag_names(["x", "y"]), random.Random(0)
    found = 0
    for _ in range(2000):
        tags = draw.choices(range(9), k=draw.randrange(1, 12))
        theirs = Entities([[names[tag] for tag in tags]], IOBES).entities[0]
        ours = {(start, end, ["x", "y"][kind]) for start, end, kind in spans(tags)}
        assert ours == {(one.start, one.end, one.tag) for one in theirs}, [names[tag] for tag in tags]
        found += len(ours)
    assert found > 500
