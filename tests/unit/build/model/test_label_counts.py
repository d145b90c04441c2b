import pytest

from framework.build.model import Classes
from framework.build.model.label_counts import LabelCounts


def test_classes_without_training_rows_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    counts = LabelCounts(Classes("labels", ("a", "b", "c")))
    counts.add("train", {"text": "x", "labels": ["a", "a"]})
    counts.add("train", {"text": "x", "label": "a"})
    counts.add("test", {"text": "x", "label": "b"})
    assert counts.summary("train") == {"labels": {"a": 2, "b": 0, "c": 0}}
    assert counts.summary("test") == {"labels": {"a": 0, "b": 1, "c": 0}}
    counts.report()
    untested, *told = capsys.readouterr().out.splitlines()
    assert untested.endswith("no test row has 'a', so it is not tested")
    assert [line.count("'b' (1 test row") + 2 * line.count("'c' (0 test row") for line in told] == [1, 2]


def test_entities_are_counted_by_row() -> None:
    counts = LabelCounts(Classes("entities", ("x", "y"), 1))
    counts.add("test", {"tokens": ["a", "b", "c"], "tags": ["B-x", "I-x", "S-x"]})
    assert counts.summary("test") == {"labels": {"x": 1, "y": 0}}


def test_nothing_is_counted_without_classes(capsys: pytest.CaptureFixture[str]) -> None:
    counts = LabelCounts(None)
    counts.add("train", {"text": "x", "label": "a"})
    counts.report()
    assert (counts.summary("train"), capsys.readouterr().out) == ({}, "")
