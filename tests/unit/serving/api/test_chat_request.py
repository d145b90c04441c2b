import json

import pytest

from framework.build.data.row_formats import canonical
from framework.build.engine import Sampling
from framework.serving.api.body import read_request
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api_error import ApiError

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def read(**changes) -> ChatRequest:
    return read_request(ChatRequest, json.dumps({**HELLO, **changes}).encode())


def test_sampling_is_greedy_without_a_temperature() -> None:
    assert read().sampling() == Sampling(0.0)
    assert read(temperature=0, top_p=0.5).sampling().temperature == 0
    assert read(temperature=0.7, top_p=0.9, seed=4).sampling() == Sampling(0.7, 0.9, 4)


def test_limits_are_respected_or_rejected() -> None:
    assert read().limit(256) == (256, False)
    assert read(max_tokens=5).limit(256) == (5, True)
    assert read(max_tokens=9, max_completion_tokens=5).limit(256) == (5, True)
    with pytest.raises(ApiError, match=r"max_tokens is 500.* 256") as caught:
        read(max_tokens=500).limit(256)
    assert caught.value.body()["error"]["param"] == "max_tokens"


CALL = {"type": "function", "function": {"name": "f", "arguments": '{"a": null}'}, "id": "c1"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "default": None}}}
TALK = [
    {"role": "developer", "content": "d"},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "annotations": []},
    {"role": "tool", "content": "3", "tool_call_id": "c1"},
    {"role": "assistant", "content": "Three.", "reasoning_content": "1 + 2"},
]


def test_a_request_is_read_as_a_training_row() -> None:
    """The template gets the same turns and tools, so the prompts are equal."""
    row = canonical({"messages": TALK, "tools": [TOOL]})
    assert read(messages=TALK, tools=[TOOL]).conversation() == (row["messages"], row["tools"])
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize(("choice", "tools"), [("auto", 1), (None, 1), ("none", 0)])
def test_tools_are_in_the_prompt_unless_none_may_be_called(choice, tools) -> None:
    assert len(read(tools=[TOOL], tool_choice=choice).conversation()[1]) == tools


def test_a_turn_of_a_request_may_be_blank() -> None:
    assert read(messages=[{"role": "user", "content": ""}]).conversation()[0][0]["content"] == ""


def test_a_blank_system_prompt_is_dropped_as_in_rows() -> None:
    blank = [{"role": "system", "content": ""}, *TALK[:3], {**TALK[3], "content": ""}, TALK[4]]
    turns = read(messages=blank).conversation()[0]
    assert turns == canonical({"messages": blank})["messages"]
    assert [turn["content"] for turn in turns] == ["d", "ab", "", "", "Three."]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": " "}]}, "messages"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "x", "mood": "x"}]}, "messages.0.mood"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"presence_penalty": 1.0}, "presence_penalty"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"tools": [3]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"max_token": 5}, "max_token"),
    ],
)
def test_unsupported_fields_are_rejected(changes, param) -> None:
    with pytest.raises(ApiError) as caught:
        read(**changes).conversation()
    error = caught.value.body()["error"]
    assert caught.value.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param)


def test_stop_accepts_one_or_several_texts() -> None:
    assert read(stop="x").stops() == ("x",)
    assert read(stop=["x", "", "y"]).stops() == ("x", "y")
    assert read().stops() == ()
