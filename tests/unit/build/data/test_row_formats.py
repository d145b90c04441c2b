import pytest

from framework.build.data.row_formats import canonical
from framework.core.errors import DataError


def reason(raw: object) -> str:
    with pytest.raises(DataError) as caught:
        canonical(raw)
    return str(caught.value)


def turns(raw: object) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in canonical(raw)["messages"]]


ASKED = [("user", "Hi"), ("assistant", "Ho")]


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
        ({"instruction": "Hi", "output": "Ho", "text": "### Instruction: Hi"}, ASKED),
        (
            {"instruction": "Add", "input": "1 1", "output": "2", "system": "S"},
            [("system", "S"), ("user", "Add\n\n1 1"), ("assistant", "2")],
        ),
        ({"prompt": "Hi", "completion": "Ho", "id": 7}, ASKED),
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
        ({"text": "good", "label": None, "title": "t"}, {"text": "good"}),
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
        ({"instruction": "a", "inputs": "x", "output": "b"}, "unknown key 'inputs'; did you mean 'input'?"),
        ({"text": "a", "lable": "x"}, "unknown key 'lable'; did you mean 'label'?"),
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
        ({"text": "a", "label": 0.5}, "not a number"),
        ({"messages": "hi"}, "must be a list of turns, not text"),
        ({"messages": [{"role": "user"}]}, "turn 1 of messages must be an object with 'role' and 'content'"),
        ({"messages": [{"from": "human", "value": "x"}]}, "with 'role' and 'content'"),
        (
            {"messages": [{"role": "bot", "content": "x"}]},
            "'role' is 'bot'; should be one of system, user, assistant, tool",
        ),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "should be one of system"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "must be text, not a list"),
        ({"messages": [{"role": "user", "content": "x"}]}, "last turn must be the assistant's"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "tool_calls"),
        ({"conversations": [{"from": "bing", "value": "x"}]}, "'from' is 'bing'"),
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
    assert canonical({**row, "id": 3}) == row
    assert reason({"tokens": ["In"], "tags": ["O", "O"]}) == "1 tokens but 2 tags; give one tag per token"
    assert reason({"tokens": [], "tags": []}) == "empty tokens"
    assert reason({"tokens": ["a", " "], "tags": ["O", "O"]}) == "empty tokens[1]"


def test_a_preference_keeps_its_rejected_answer() -> None:
    row = canonical({"prompt": "Hi", "chosen": "Ho", "rejected": "No", "system": "S"})
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
    assert (row["messages"][-1]["content"], row["rejected"]) == ("Ho", "No")
    answers = {
        key: [{"role": "assistant", "content": text}] for key, text in (("chosen", "a"), ("rejected", "b"))
    }
    earlier = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
    more = {"prompt": [*earlier, {"role": "user", "content": "3"}], **answers}
    assert [message["content"] for message in canonical(more)["messages"]] == ["1", "2", "3", "a"]
    assert "two different answers" in reason({"prompt": "Hi", "chosen": "a", "rejected": "a"})
    assert "put the turns before it in 'prompt'" in reason({**more, "chosen": earlier})
