"""What another model is asked, and what it is not."""

import asyncio
from pathlib import Path

import pytest
from scripted_answers import asking, everything

from framework.core.release import Release
from framework.serving.answers import Generation
from framework.serving.answers.answer_use import AnswerUse, begin_use
from framework.serving.answers.fallback_answers import FallbackAnswers, Unanswered
from framework.serving.answers.fallback_request import request_body
from framework.serving.answers.fallbacks import FixedText
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api.completions import CompletionRequest
from framework.serving.api_error import ApiError
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")
USER = {"role": "user", "content": "hi"}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": function} for function in (WEATHER, {"name": "news"})]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def asked(**fields):
    """Return what the chat route asks for a body."""
    body = ChatRequest.model_validate({"model": "tiny", "messages": [USER], **fields})
    (payload, *_) = body.payloads()
    return Generation(payload, 8, False, asking().caller, 0.0)


def sent(**fields):
    """Return what the body of a request adds to a plain one."""
    plain = request_body(asked(), "small")
    body = request_body(asked(**fields), "small")
    return {name: value for name, value in body.items() if plain.get(name) != value}


def test_tools_and_their_turns_are_passed_on():
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Ål"}'},
    }
    turns = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    body = sent(messages=turns, tools=TOOLS, parallel_tool_calls=False)
    assert body == {
        "messages": [USER, turns[1] | {"content": ""}, turns[2]],
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize(
    ("choice", "tools", "word"),
    [
        ("required", TOOLS, "required"),
        ({"type": "function", "function": {"name": "weather"}}, TOOLS[:1], "required"),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS[1:]}},
            TOOLS[1:],
            "auto",
        ),
    ],
)
def test_what_may_be_called_is_passed_on(choice, tools, word):
    assert sent(tools=TOOLS, tool_choice=choice) == {"tools": tools, "tool_choice": word}
    assert sent(tools=TOOLS, tool_choice="none") == {}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
        ),
    ],
)
def test_format_is_passed_on(form, expected):
    assert sent(response_format=form) == {"response_format": expected}


def test_sampling_is_passed_on():
    fields = {"temperature": 0.5, "seed": 0, "presence_penalty": 1.0, "logprobs": True, "top_logprobs": 2}
    assert sent(**fields, stop=["x"]) == {**fields, "stop": ["x"]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"top_k": 3}, "top_k"),
        ({"min_p": 0.5}, "min_p"),
        ({"repetition_penalty": 1.5}, "repetition_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"messages": [{"role": "assistant", "content": "a", "reasoning_content": "b"}]}, "messages"),
    ],
)
def test_what_cannot_be_passed_on_is_named(fields, param):
    with pytest.raises(Unanswered) as caught:
        request_body(asked(**fields), "small")
    assert caught.value.param == param


def test_an_adapter_and_a_text_to_continue_are_not_passed_on():
    adapted = asked()
    adapted.payload["adapter"] = "sha256:a"
    (payload,) = CompletionRequest(model="tiny", prompt="Once").payloads()
    for request, param in ((adapted, "model"), (Generation(payload, 8, True, adapted.caller, 0.0), "prompt")):
        with pytest.raises(Unanswered) as caught:
            request_body(request, "small")
        assert caught.value.param == param


class Shedding:
    async def generate(self, asked):
        raise ApiError(429, "busy", code="overloaded", retry_after=3)
        yield


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": TOOLS, "top_k": 3}, None),
        ({"tools": TOOLS, "tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_client_is_told_which_field_a_text_does_not_do(fields, param):
    begin_use(AnswerUse())
    answers = FallbackAnswers(Shedding(), FixedText("Wait."), Metrics(RELEASE).fallback)
    answer = everything(answers.generate(asked(**fields)))
    if param is None:
        assert asyncio.run(answer)[1]["text"] == "Wait."
        return
    with pytest.raises(ApiError) as caught:
        asyncio.run(answer)
    error = caught.value
    assert (error.status, error.code, error.param, error.retry_after) == (429, "overloaded", param, 3)
