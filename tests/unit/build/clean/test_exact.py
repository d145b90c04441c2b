import json

import pytest

from framework.build.clean.exact import Exact


def chat(prompt: str, answer: str, **keys: object) -> dict:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **keys}


def test_first_of_equal_rows_stays(clean) -> None:
    rows = [f"text {number % 700}" for number in range(1000)]
    cleaned = clean(Exact(), rows)
    assert cleaned.gone == [*range(701, 1001)]  # every repeated row, and no other
    assert cleaned.texts() == rows[:700]
    assert cleaned.summary["train"]["removed_by"] == {"exact": 300}
    assert cleaned.removed[0] == {
        "split": "train",
        "file": "train.jsonl",
        "line": 701,
        "rule": "exact",
        "reason": "the same row as train.jsonl:1",
        "row": {"text": "text 0"},
    }
    samples = json.loads((cleaned.folder / "samples.json").read_text())["exact"]
    assert len({sample["line"] for sample in samples}) == 10
    assert all(sample["before"] == rows[sample["line"] - 1] for sample in samples)


@pytest.mark.parametrize(("on", "gone"), [("all", [5]), ("prompt", [2, 4, 5]), ("answer", [3, 5])])
def test_what_must_be_equal_is_a_setting(clean, on, gone) -> None:
    rows = [chat("2+2?", "4"), chat("2+2?", "four"), chat("1+3?", "4"), chat("2+2?", "4", rejected="5")]
    assert clean(Exact(on=on, max_removed=0.9), [*rows, rows[0]]).gone == gone


def test_rows_that_differ_in_label_or_key_are_not_equal(clean) -> None:
    rows = [
        {"text": "fine", "label": "good"},
        {"text": "fine", "label": "bad"},
        chat("yes?", "no", desirable=True),
        chat("yes?", "no", desirable=False),
        {"label": "good", "text": "fine"},
    ]
    assert clean(Exact(), rows).gone == [5]  # the order of a row's keys says nothing


def test_rows_that_differ_in_a_passage_are_not_equal(clean) -> None:
    rows = [
        {"query": "q", "passage": "p"},
        {"query": "q", "passage": "other"},
        {"query": "q", "passage": "p", "negatives": ["n"]},
        {"query": "q", "passage": "p"},
    ]
    assert clean(Exact(), rows).gone == [4]
    assert clean(Exact(on="prompt", max_removed=1), rows).gone == [2, 3, 4]


def test_test_rows_stay(clean) -> None:
    cleaned = clean(Exact(), ["a", "b"], test=["c", "c", "a"])
    assert cleaned.texts("test") == ["c", "c", "a"]
    assert cleaned.summary["test"]["removed_by"] == {}
    assert cleaned.summary["test"]["in_train"] == 1
