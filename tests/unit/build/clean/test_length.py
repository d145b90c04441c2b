"""The tiny model's tokens are bytes, so that lengths can be counted by hand."""

import pytest

from framework.build.clean.length import Length

TURNS = [{"role": "user", "content": "a" * 20}, {"role": "assistant", "content": "b" * 20}]


def test_documents_are_split_at_the_best_boundary(clean) -> None:
    rows = [
        "one two three.\n\nfour five six seven",
        "One two three. Four five six.",
        "alpha beta gamma delta eps",
        "x" * 50,
        "fits",
    ]
    cleaned = clean(Length(max_tokens=20), rows)
    assert cleaned.texts() == [
        *("one two three.", "four five six seven"),
        *("One two three.", "Four five six."),
        *("alpha beta gamma", "delta eps"),
        *("x" * 20, "x" * 20, "x" * 10),
        "fits",
    ]
    assert cleaned.summary["train"]["rewritten_by"] == {"split": 4}


def test_splitting_loses_nothing_but_white_space_and_keeps_the_limit(clean) -> None:
    text = " ".join(f"wörd{number}{'. 漢字' * (number % 3)}" for number in range(300))
    parts = clean(Length(max_tokens=64), [text]).texts()
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert max(len(part.encode()) for part in parts) <= 64
    assert len(parts) < 2.2 * len(text.encode()) / 64


def test_short_documents_of_a_file_are_merged_in_order(clean) -> None:
    rows = ["a" * 10, "b" * 10, "c" * 10, "d" * 40, "e" * 5]
    cleaned = clean(Length(min_tokens=30, max_tokens=45), rows)
    assert cleaned.texts() == ["\n\n".join(rows[:3]), rows[3], rows[4]]
    assert cleaned.summary["train"]["rewritten_by"] == {"merged": 3}


def test_other_rows_are_removed_by_their_length(clean) -> None:
    labeled = {"text": "c" * 50, "label": "long"}
    rows = [{"messages": TURNS}, labeled, {"text": "d", "label": "short"}, "e" * 50, "f"]
    settings = {"min_tokens": 10, "max_tokens": 40, "max_removed": 0.9}
    cleaned = clean(Length(**settings), rows)
    assert cleaned.rules == {2: "too_long", 3: "too_short"}
    cleaned = clean(Length(too_long="reject", too_short="reject", **settings), rows)
    assert cleaned.rules == {2: "too_long", 3: "too_short", 4: "too_long", 5: "too_short"}
    assert clean(
        Length(on="answer", min_tokens=21, max_removed=0.9), [{"messages": TURNS}, "x" * 30]
    ).gone == [1]


def test_test_rows_keep_their_length(clean) -> None:
    long = "word " * 100
    assert clean(Length(max_tokens=20), ["a"], test=[long]).texts("test") == [long]


def test_limits_that_no_row_keeps_are_a_problem() -> None:
    assert [problem.key for problem in Length(min_tokens=100, max_tokens=50).problems()] == ["min_tokens"]


@pytest.mark.parametrize("word", ["min_tokens", "max_tokens"])
def test_step_needs_the_model_for_its_tokens(plan, word) -> None:
    before = {step.label: step for step in plan("+recipe=tiny", "clean=[length,exact]").steps}
    assert before["clean length"].needs["model"] is before["model"]
    assert "model" not in before["clean exact"].needs
    after = {
        step.label: step.key
        for step in plan("+recipe=tiny", "clean=[length,exact]", f"clean.length.{word}=16").steps
    }
    assert after["clean length"] != before["clean length"].key
