import time

import pytest

from framework.build.clean.normalize import Normalize

BOM, SOFT_HYPHEN, ZERO_WIDTH, JOINER = "\ufeff", "\u00ad", "\u200b", "\u200d"


@pytest.mark.parametrize(
    ("settings", "before", "after"),
    [
        ({}, f"{BOM}ze{SOFT_HYPHEN}ro{ZERO_WIDTH}\x07 width", "zero width"),
        ({}, f"\U0001f469{JOINER}\U0001f4bb", f"\U0001f469{JOINER}\U0001f4bb"),  # one emoji
        ({}, "Cafe\u0301", "Café"),
        ({}, "x² ﬁ", "x² ﬁ"),
        ({"unicode": "NFKC"}, "x² ﬁ", "x2 fi"),
        ({"unicode": "keep"}, "Cafe\u0301", "Cafe\u0301"),
        ({}, "one  \r\ntwo\t\r\n\r\n\r\n\r\nthree\n", "one\ntwo\n\nthree"),
        ({}, "def f():\n    return  1", "def f():\n    return  1"),
        ({"white_space": "all"}, "def f():\n    return  1", "def f():\n    return 1"),
        ({"white_space": "keep"}, "one  \n\n\n\ntwo ", "one  \n\n\n\ntwo "),
        ({"case": "lower"}, "The NATO", "the nato"),
        ({"boilerplate": ("accept cookies",)}, "News\n[Accept Cookies] now\nText", "News\nText"),
        ({"boilerplate": ("a",)}, "a\naa", "a\naa"),  # a row does not lose its only text
    ],
)
def test_text_gets_the_chosen_form(clean, settings, before, after) -> None:
    cleaned = clean(Normalize(**settings), [before, "as it is"], test=[before])
    assert cleaned.texts() == [after, "as it is"]
    assert cleaned.texts("test") == [after]  # a model is tested on the form that it learned
    changed = {"normalize": 1} if before != after else {}
    assert [counts["rewritten_by"] for counts in cleaned.summary.values()] == [changed, changed]
    assert cleaned.removed == []


def test_only_the_chosen_part_is_rewritten(clean) -> None:
    turns = [{"role": "user", "content": "A  "}, {"role": "assistant", "content": "B  "}]
    row = {"messages": turns, "rejected": "C  "}
    (prompt,) = clean(Normalize(on="prompt"), [row]).rows()
    (answer,) = clean(Normalize(on="answer"), [row]).rows()
    assert [turn["content"] for turn in prompt["messages"]] == ["A", "B  "]
    assert [turn["content"] for turn in answer["messages"]] == ["A  ", "B"]
    assert (prompt["rejected"], answer["rejected"]) == ("C  ", "C")


def test_a_query_is_a_prompt_and_its_passages_are_answers(clean) -> None:
    row = {"query": "A  ", "passage": "B  ", "negatives": ["C  "]}
    assert clean(Normalize(on="prompt"), [row]).rows() == [{**row, "query": "A"}]
    answers = {"passage": "B", "negatives": ["C"]}
    assert clean(Normalize(on="answer"), [row]).rows() == [{**row, **answers}]
    assert clean(Normalize(), [row]).rows() == [{"query": "A", **answers}]


def test_tokens_keep_their_tags(clean) -> None:
    row = {"tokens": ["Cafe\u0301", "\u200b"], "tags": ["B-ORG", "O"]}
    assert clean(Normalize(), [row]).rows() == [{"tokens": ["Café", "\u200b"], "tags": ["B-ORG", "O"]}]


@pytest.mark.parametrize("unit", [" ", "\n", " \n", "\u200b", "\r"])
def test_time_is_linear_in_the_length(unit) -> None:
    started = time.process_time()
    Normalize(white_space="all").normalized(f"a{unit * 500_000}b")
    assert time.process_time() - started < 2


def test_empty_boilerplate_is_a_problem() -> None:
    assert [problem.key for problem in Normalize(boilerplate=(" ",)).problems()] == ["boilerplate"]
