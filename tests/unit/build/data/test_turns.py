from typing import Any

import pytest

from framework.build.data.turns import read_turns
from framework.core.errors import DataError

CALL = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}


def read(*turns: Any) -> list[Any]:
    unused = set[str]()
    read = read_turns(list(turns), "messages", unused)
    assert not unused
    return read


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *[(name, "user") for name in ("user", "human", "Human")],
        *[(name, "assistant") for name in ("gpt", "GPT", "chatgpt", "bard", "bing", "model", "Assistant")],
        *[(name, "system") for name in ("system", "developer")],
        *[(name, "tool") for name in ("tool", "function", "observation")],
    ],
)
def test_speakers_have_the_names_in_common_use(name: str, role: str) -> None:
    for turn in ({"from": name, "value": "x"}, {"role": name, "content": "x"}):
        assert read(turn) == [{"role": role, "content": "x"}]


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"content": "ab"}),
        ({"reasoning_content": "why"}, {"reasoning_content": "why"}),
        ({"reasoning": "why", "reasoning_content": None}, {"reasoning_content": "why"}),
        *[
            ({key: value}, {"train": False})
            for key, value in (("weight", 0), ("weight", 0.0), ("train", False))
        ],
        *[({key: value}, {}) for key, value in (("weight", 1), ("train", True), ("tool_calls", []))],
        ({"name": "Ann", "refusal": None}, {"name": "Ann"}),
    ],
)
def test_what_a_turn_says_is_carried(turn: dict[str, Any], message: dict[str, Any]) -> None:
    plain = {"role": "assistant", "content": "x"}
    assert read({**plain, **turn}) == [{**plain, **message}]


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "narrator"}, "'role' is 'narrator'; should be one of system"),
        ({"role": ["user"]}, "should be one of system"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "'image_url'"),
        ({"role": "user", "content": [{"type": "text"}]}, "part 1 of content"),
        ({"role": "user", "content": []}, "empty content"),
        ({"weight": 0.5}, "weight in turn 1 of messages is 0.5"),
        ({"train": "no"}, "train in turn 1 of messages is 'no'"),
        ({"role": "user", "train": True}, "asks to learn the user's turn"),
        ({"train": False, "weight": 1}, "contradict"),
        ({"role": "user", "reasoning_content": "x"}, "only the assistant's turns have thoughts"),
        ({"name": 3}, "name in turn 1 of messages must be text"),
        ({"role": "user", "tool_calls": [CALL]}, "only the assistant calls tools"),
        ({"role": "function_call"}, "not JSON"),
        ({"tool_calls": [CALL], "function_call": CALL["function"]}, "both 'tool_calls' and 'function_call'"),
    ],
)
def test_what_cannot_be_carried_is_named(turn: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read({"role": "assistant", "content": "x", **turn})
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]},
        {"role": "assistant", "tool_calls": '[{"function": {"name": "f", "arguments": {"a": 1}}}]'},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1}}'},
        {"from": "function_call", "value": '[{"name": "f", "arguments": {"a": 1}}]'},
    ],
)
def test_calls_have_one_form(turn: dict[str, Any]) -> None:
    assert read(turn) == [CALLS]


@pytest.mark.parametrize("text", ["", " \n", [], [{"type": "text", "text": ""}]])
def test_system_and_tool_turns_may_be_blank(text: Any) -> None:
    """A blank system prompt is none; a tool may return nothing."""
    tool = read({"role": "developer", "content": text}, {"role": "tool", "content": text})
    assert tool == [{"role": "tool", "content": text if isinstance(text, str) else ""}]
