import pytest

from framework.build.data.row_formats import canonical, read_row
from framework.core.errors import DataError


def reason(raw: object) -> str:
    with pytest.raises(DataError) as caught:
        canonical(raw)
    return str(caught.value)


def turns(raw: object) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in canonical(raw)["messages"]]


ASKED = [("user", "Hi"), ("assistant", "Ho")]
QUESTION, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}
BAD = {"role": "assistant", "content": "No"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
            ASKED,
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]},
            ASKED,
        ),
        (
            {"conversations": [{"from": "user", "value": "Hi"}, {"from": "assistant", "value": "Ho"}]},
            ASKED,
        ),
        (
            {
                "system": "S",
                "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}],
            },
            [("system", "S"), ("user", "a"), ("assistant", "b")],
        ),
        (
            {
                "conversations": [
                    {"from": "system", "value": "S"},
                    {"from": "human", "value": "a"},
                    {"from": "tool", "value": "t"},
                    {"from": "gpt", "value": "b"},
                ]
            },
            [("system", "S"), ("user", "a"), ("tool", "t"), ("assistant", "b")],
        ),
        ({"instruction": "Hi", "output": "Ho"}, ASKED),
        ({"instruction": "Hi", "input": "", "output": "Ho", "system": None}, ASKED),
        ({"instruction": "Hi", "output": "Ho", "history": [], "tools": "", "note": ""}, ASKED),
        (
            {"instruction": "Add", "input": "1 1", "output": "2", "system": "S"},
            [("system", "S"), ("user", "Add\n\n1 1"), ("assistant", "2")],
        ),
        (
            {"instruction": "3?", "output": "c", "system": "S", "history": [["1?", "a"], ["2?", "b"]]},
            [
                ("system", "S"),
                *zip(("user", "assistant") * 3, ("1?", "a", "2?", "b", "3?", "c"), strict=True),
            ],
        ),
        (
            {"instruction": "2?", "output": "b", "history": '[["1?", "a"]]'},
            list(zip(("user", "assistant") * 2, ("1?", "a", "2?", "b"), strict=True)),
        ),
        ({"instruction": "a", "context": "C", "response": "b"}, [("user", "a\n\nC"), ("assistant", "b")]),
        ({"instruction": "a", "context": "C", "output": "b"}, [("user", "a\n\nC"), ("assistant", "b")]),
        ({"prompt": "Hi", "completion": "Ho"}, ASKED),
        (
            {
                "prompt": [{"role": "user", "content": "Hi"}],
                "completion": [{"role": "assistant", "content": "Ho"}],
            },
            ASKED,
        ),
        ({"prompt": "Hi", "completion": "Ho", "label": True}, ASKED),
    ],
)
def test_every_conversation_form_becomes_messages(raw: object, expected: list[tuple[str, str]]) -> None:
    assert turns(raw) == expected


@pytest.mark.parametrize(
    ("raw", "row"),
    [
        ({"text": " with its spaces "}, {"text": " with its spaces "}),
        ({"text": "good", "label": "pos"}, {"text": "good", "label": "pos"}),
        ({"text": "good", "label": 0}, {"text": "good", "label": "0"}),
        ({"text": "good", "label": " pos "}, {"text": "good", "label": "pos"}),
        ({"text": "good", "label": None, "title": ""}, {"text": "good"}),
    ],
)
def test_documents_keep_text_and_label(raw: object, row: object) -> None:
    assert canonical(raw) == row


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"text": ""}, "empty text"),
        ({"text": " \n\t"}, "empty text"),
        ({"text": "x", "label": ""}, "empty label"),
        ({"instruction": "a", "output": " "}, "empty output"),
        ({"prompt": "a", "completion": ""}, "empty completion"),
        ({"messages": []}, "empty conversation"),
        ({"messages": [{"role": "assistant", "content": " "}]}, "empty content in turn 1"),
        ({}, "empty row"),
        ({"text": None}, "empty row"),
    ],
)
def test_an_empty_value_is_named(raw: object, message: str) -> None:
    assert message in reason(raw)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"instructions": "a", "output": "b"}, "did you mean 'instruction' for 'instructions'?"),
        ({"instruction": "a", "ouput": "b"}, "did you mean 'output' for 'ouput'?"),
        ({"mesages": []}, "did you mean 'messages' for 'mesages'?"),
        ({"instruction": "a", "inputs": "x", "output": "b"}, "did you mean 'input'?"),
        ({"text": "a", "lable": "x"}, "did you mean 'label'?"),
    ],
)
def test_a_misspelled_key_gets_a_suggestion(raw: object, message: str) -> None:
    assert message in reason(raw)


def test_an_unknown_form_names_the_accepted_ones() -> None:
    message = reason({"question": "a", "answer": "b"})
    assert "'question', 'answer'" in message
    for accepted in ("messages", "conversations", "instruction+output", "prompt+completion", "text[+label]"):
        assert accepted in message
    assert "data.columns" in message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (["a"], "must be an object with keys, not a list"),
        ("a", "not text"),
        (None, "not null"),
        ({"text": 3}, "text must be text, not a number"),
        ({"text": "a", "label": True}, "not a boolean"),
        ({"text": "a", "label": 1.0}, "label is 1.0, a decimal number"),
        ({"messages": "hi"}, "must be a list of turns, not text"),
        ({"messages": [{"role": "user"}]}, "turn 1 of messages must be an object with 'role' and 'content'"),
        ({"messages": [{"text": "x"}]}, "with 'role' and 'content'"),
        ({"messages": [{"role": "user", "content": "x"}]}, "last turn must be the assistant's"),
        (
            {"prompt": "a", "completion": "b", "label": "good"},
            "label of a conversation must be true or false",
        ),
        ({"conversations": [{"from": "gpt", "value": "b"}], "kto_tag": False}, "without a prompt"),
        ({"instruction": "a", "input": "b", "context": "c", "output": "d"}, "both 'input' and 'context'"),
        ({"instruction": "a", "output": "b", "history": [["a"]]}, "item 1 must be [question, answer]"),
        ({"instruction": "a", "output": "b", "history": "none"}, "history is text, but not JSON"),
        (
            {
                "messages": [{"role": "system", "content": "A"}, {"role": "assistant", "content": "x"}],
                "system": "B",
            },
            "two different system prompts",
        ),
        ({"messages": [{"role": "assistant", "content": "x", "weight": 0}]}, "no turn is learned"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "tool_calls"),
        ({"text": "a\0b"}, "NUL character"),
        ({"text": "a\ud800b"}, "not valid Unicode"),
    ],
)
def test_a_broken_row_names_the_fault(raw: object, message: str) -> None:
    assert message in reason(raw)


def test_a_text_may_have_any_number_of_labels() -> None:
    assert canonical({"text": "t", "labels": ["a ", "b"]}) == {"text": "t", "labels": ["a", "b"]}
    assert canonical({"text": "t", "labels": []}) == {"text": "t", "labels": []}
    assert reason({"text": "t", "labels": "a"}) == "labels must be a list, not text"
    assert reason({"text": "t", "labels": ["a", 1]}) == "labels[1] must be text, not a number"
    assert "use 'label' for one class" in reason({"text": "t", "labels": ["a"], "label": "a"})


def test_each_word_needs_a_tag() -> None:
    row = {"tokens": ["In", "Rome"], "tags": ["O", "S-city"]}
    assert canonical({**row, "id": 3}, ignore=["id"]) == row
    assert reason({"tokens": ["In"], "tags": ["O", "O"]}) == "1 tokens but 2 tags; give one tag per token"
    assert reason({"tokens": [], "tags": []}) == "empty tokens"
    assert reason({"tokens": ["a", " "], "tags": ["O", "O"]}) == "empty tokens[1]"


@pytest.mark.parametrize(
    ("row", "unused"),
    [
        ({"prompt": "Hi", "completion": "Ho", "id": 7}, {"id"}),
        ({"prompt": "Hi", "completion": "Ho", "id": None, "source": "", "images": []}, set()),
        ({"instruction": "Hi", "output": "Ho", "text": "### Instruction: Hi"}, {"text"}),
        ({"messages": [{"role": "user", "content": "Hi", "id": 0, "lang": None}, ANSWER]}, {"messages[].id"}),
        ({"chosen": [QUESTION, {**ANSWER, "score": 5}], "rejected": [QUESTION, BAD]}, {"chosen[].score"}),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "a", "lang": "en"}]},
                    ANSWER,
                ]
            },
            {"messages[].content[].lang"},
        ),
    ],
)
def test_a_key_that_nothing_reads_is_named(row: object, unused: set[str]) -> None:
    assert read_row(row)[1] == unused
    assert canonical(row, ignore=unused)
    if unused:
        assert min(unused) in reason(row)


@pytest.mark.parametrize(
    ("row", "negatives"),
    [
        ({"query": "q", "passage": "p"}, None),
        ({"query": "q", "positive": "p", "negative": ""}, None),
        ({"anchor": "q", "positive": "p", "negative": "n"}, ["n"]),
        ({"query": "q", "passage": "p", "negatives": ["n", "m"]}, ["n", "m"]),
        ({"query": "q", "passage": "p", "negative": "n", "negatives": ["m"]}, ["n", "m"]),
    ],
)
def test_a_query_has_a_passage_and_may_have_others(row: object, negatives: list[str] | None) -> None:
    more = {} if negatives is None else {"negatives": negatives}
    assert canonical(row) == {"query": "q", "passage": "p", **more}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query": "q", "passage": "p", "negativ": "n"}, "did you mean 'negative'"),
        ({"query": "q", "passage": "p", "score": 0.5}, "'score'"),
        ({"query": "q", "passage": "p", "positive": "r"}, "'positive'"),
        ({"query": "q", "passage": " "}, "empty passage"),
        ({"query": "q", "passage": ["p"]}, "passage must be text"),
        ({"query": "q", "passage": "p", "negatives": "n"}, "negatives must be a list"),
        ({"query": "q", "passage": "p", "negatives": ["p"]}, "equals the passage"),
        ({"query": "q", "pasage": "p"}, "did you mean 'passage' for 'pasage'"),
    ],
)
def test_a_query_that_would_be_learned_wrongly_is_refused(row: object, said: str) -> None:
    assert said in reason(row)


def test_an_ignored_key_is_not_read() -> None:
    row = {"messages": [QUESTION, ANSWER], "tools": [{}], "label": False}
    assert canonical(row, ignore=["tools", "label"]) == {"messages": [QUESTION, ANSWER]}
    assert read_row(row, ignore=["tools", "label", "id"])[1] == {"tools", "label"}


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("messages[].weight", {"messages": [QUESTION, {**ANSWER, "weight": 0}]}),
        ("messages[].name", {"messages": [{**QUESTION, "name": "Ann"}, ANSWER]}),
        ("prompt[].train", {"prompt": [{**QUESTION, "train": True}], "completion": [ANSWER]}),
        ("completion.weight", {"prompt": [QUESTION], "completion": {**ANSWER, "weight": 0.5}}),
        (
            "messages[].content[].x",
            {"messages": [{**QUESTION, "content": [{"type": "text", "text": "Hi", "x": 1}]}, ANSWER]},
        ),
    ],
)
def test_an_ignored_key_of_a_turn_is_not_read(key: str, row: object) -> None:
    assert read_row(row, ignore=[key, "messages[].absent"]) == ({"messages": [QUESTION, ANSWER]}, {key})


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_system_prompt_is_none(blank: str) -> None:
    turns = [{"role": "system", "content": blank}, QUESTION, ANSWER]
    assert canonical({"messages": turns, "system": blank}) == {"messages": [QUESTION, ANSWER]}
