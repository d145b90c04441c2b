import json
from dataclasses import replace

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
    assert read(messages=TALK, tools=[TOOL]).conversation()[:2] == (row["messages"], row["tools"])
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


REFUSED = {
    "audio": {"voice": "alloy", "format": "wav"},
    "prediction": {"type": "content", "content": "x"},
    "web_search_options": {"search_context_size": "low"},
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "modalities": ["text", "audio"],
    "reasoning_effort": "low",
    "verbosity": "high",
    "store": True,
    "service_tier": "flex",
    "moderation": {"model": "x"},
}
EMPTY = {
    **{name: [] for name in ("tools", "functions")},
    **{name: {} for name in ("logit_bias", "metadata", "prompt_cache_options", "response_format")},
    "store": False,
    "modalities": ["text"],
}


def test_every_field_of_the_client_is_known_and_may_be_null() -> None:
    """The installed client is the list of fields; what is null or empty asks for nothing."""
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as Fields

    names = set(Fields.__annotations__) | set(Fields.__mro__[0].__annotations__)
    names |= {name for base in Fields.__orig_bases__ for name in getattr(base, "__annotations__", {})}
    names -= {"model", "messages"}
    assert len(names) > 30
    for name in sorted(names):
        assert read(**{name: None}).payloads() == read().payloads(), name
    for name, value in EMPTY.items():
        assert read(**{name: value}).payloads() == read().payloads(), name


def test_every_key_of_a_turn_may_be_null() -> None:
    turn = {"role": "assistant", "content": None}
    nulls = dict.fromkeys(("name", "refusal", "audio", "function_call", "tool_calls", "annotations"))
    talk = [HELLO["messages"][0], turn, HELLO["messages"][0]]
    full = [talk[0], {**turn, **nulls}, {**talk[2], "name": None}]
    assert read(messages=full).payloads() == read(messages=talk).payloads()
    assert read(messages=talk).payloads()[0]["messages"][1]["content"] == ""


def test_fields_of_the_sampling_are_passed_on() -> None:
    body = read(
        temperature=1, top_k=-1, min_p=0.1, presence_penalty=1, frequency_penalty=-1, repetition_penalty=1.2,
        logit_bias={"7": 5, "3": -100, "4": 0}, logprobs=True, top_logprobs=2, ignore_eos=True, seed=5, n=2,
    )  # fmt: skip
    first, second = body.samplings()
    assert (first.seed, second.seed) == (5, 6), "equal seeds would give equal answers"
    assert replace(first, seed=None) == Sampling(
        1.0, 1.0, None, True, 0, 0.1, 1.0, -1.0, 1.2, ((3, -100.0), (7, 5.0)), 2
    )


def test_formats_become_a_grammar() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    named = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    ((kind, text),) = read(response_format=named).sampling().grammar
    assert (kind, json.loads(text)) == ("schema", schema)
    assert read(response_format={"type": "json_object"}).sampling().grammar == (
        ("schema", '{"type": "object"}'),
    )
    assert read(response_format={"type": "text"}).sampling().grammar == ()


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        (None, (("f",), False)),
        ("auto", (("f",), False)),
        ("required", (("f",), True)),
        ({"type": "function", "function": {"name": "f"}}, (("f",), True)),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}, (("f",), True)),
    ],
)
def test_choices_of_tools(choice, calls) -> None:
    got = read(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False).payloads()[0]["calls"]
    assert got == {"names": calls[0], "required": calls[1], "parallel": False}


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
        ({"n": 17}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"logit_bias": {"one": 1}}, "logit_bias"),
        ({"min_p": 2}, "min_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "response_format"),
        ({"tools": [3]}, "tools"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        *(({field: value}, field) for field, value in REFUSED.items()),
        ({"max_token": 5}, "max_token"),
    ],
)
def test_unsupported_fields_are_rejected(changes, param) -> None:
    with pytest.raises(ApiError) as caught:
        read(**changes).payloads()
    error = caught.value.body()["error"]
    assert caught.value.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param)


def test_stop_accepts_one_or_several_texts() -> None:
    assert read(stop="x").stops() == ("x",)
    assert read(stop=["x", "", "y"]).stops() == ("x", "y")
    assert read().stops() == ()
