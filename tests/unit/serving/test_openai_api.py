import json

import pytest

from framework.build.engine import Sampling
from framework.serving.openai_api import ApiError, ChatRequest, ClassifyRequest, Reply, read_request

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


def test_messages_are_normalized_for_chat_templates() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    given = read(messages=[{"role": "developer", "content": "d"}, {"role": "user", "content": parts}])
    assert [message.plain() for message in given.messages] == [
        {"role": "system", "content": "d"},
        {"role": "user", "content": "ab"},
    ]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
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
        ({"tools": []}, "tools"),
        ({"max_token": 5}, "max_token"),
    ],
)
def test_unsupported_fields_are_rejected(changes, param) -> None:
    with pytest.raises(ApiError) as caught:
        read(**changes)
    error = caught.value.body()["error"]
    assert caught.value.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"null"])
def test_body_that_is_not_a_json_object_is_a_400(raw) -> None:
    with pytest.raises(ApiError, match="not a JSON object") as caught:
        read_request(ChatRequest, raw)
    assert caught.value.status == 400


def test_stop_accepts_one_or_several_texts() -> None:
    assert read(stop="x").stops() == ("x",)
    assert read(stop=["x", "", "y"]).stops() == ("x", "y")
    assert read().stops() == ()


def test_each_event_is_one_line_of_json() -> None:
    reply = Reply.new("m", 1, "sha256:" + "ab" * 32)
    text = reply.chunk({"content": "line\nbreak ü"})
    assert text.startswith("data: {")
    assert text.endswith("}\n\n")
    assert text.count("\n") == 2
    assert json.loads(text[6:])["choices"][0]["delta"]["content"] == "line\nbreak ü"
    assert json.loads(text[6:])["system_fingerprint"] == "fp_abababababab"


def test_classify_accepts_one_or_several_texts() -> None:
    assert read_request(ClassifyRequest, b'{"input": "a"}').texts() == ["a"]
    assert read_request(ClassifyRequest, b'{"input": ["a", "b"]}').texts() == ["a", "b"]
    with pytest.raises(ApiError, match="input"):
        read_request(ClassifyRequest, b'{"input": []}')
