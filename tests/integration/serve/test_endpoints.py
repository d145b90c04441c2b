"""Completions, tokens and responses through the openai client and over HTTP."""

import json
from typing import Any

import httpx
import openai
import pytest
from calling_model import SCHEMA, with_tools
from server_process import HELLO, Served, serving

from framework.build.engine import open_engine
from framework.core import metric_names as metrics
from framework.serving.engine.tokenization import open_tokenizer

TOOL: Any = {
    "type": "function",
    "name": "find",
    "parameters": {
        "type": "object",
        "properties": {"n": {"enum": [1, 2]}},
        "required": ["n"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def reference(tiny_genai) -> Any:
    """What the engine and the tokenizer say themselves about 'hello world'."""
    tokenizer, engine = open_tokenizer(tiny_genai), open_engine("genai", tiny_genai, 1)
    ids = tokenizer("hello world")["input_ids"]
    text = tokenizer.decode(list(engine.generate(ids, 16)), skip_special_tokens=True)
    return ids, text


def test_a_text_is_continued(chat: Served, reference) -> None:
    ids, text = reference
    complete = chat.client.completions.create
    answer = complete(model="tiny", prompt="hello world")
    assert (answer.choices[0].text, answer.usage.prompt_tokens) == (text, len(ids))
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert complete(model="tiny", prompt=ids).choices[0].text == text
    assert complete(model="tiny", prompt="hello world", echo=True).choices[0].text == "hello world" + text
    several = complete(model="tiny", prompt=["hello world", "fox"], n=2, temperature=0)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert [choice.text for choice in several.choices[:2]] == [text, text]
    assert several.choices[2].text == several.choices[3].text != text
    chunks = list(complete(model="tiny", prompt="hello world", stream=True, echo=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == "hello world" + text
    before = chat.sample(metrics.REQUESTS, "/v1/completions")
    with pytest.raises(openai.BadRequestError) as caught:
        complete(model="tiny", prompt="x", suffix="y")
    assert caught.value.param == "suffix"
    with pytest.raises(openai.BadRequestError) as caught:
        complete(model="tiny", prompt=[1, 99999])
    assert caught.value.param == "prompt"
    with pytest.raises(openai.BadRequestError) as caught:
        complete(model="tiny", prompt="x", logprobs=2)
    assert caught.value.param == "logprobs"
    assert chat.sample(metrics.REQUESTS, "/v1/completions", "200") >= before >= 5


def test_tokens_are_the_tokenizers(chat: Served, tiny_genai, reference) -> None:
    ids, _ = reference

    def post(path: str, **body: Any) -> Any:
        return httpx.post(f"{chat.url}{path}", json=body)

    told = post("/tokenize", prompt="hello world", return_token_strs=True).json()
    tokenizer = open_tokenizer(tiny_genai)
    assert told == {
        "count": len(ids),
        "max_model_len": 256,
        "tokens": ids,
        "token_strs": tokenizer.convert_ids_to_tokens(ids),
    }
    assert post("/detokenize", tokens=ids, model="tiny").json() == {"prompt": "hello world"}
    conversation = post("/tokenize", messages=HELLO).json()
    usage = chat.client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=1).usage
    assert conversation["count"] == usage.prompt_tokens
    assert post("/detokenize", tokens=[99999]).json()["error"]["param"] == "tokens"
    assert post("/tokenize").status_code == 400
    assert post("/tokenize", prompt="x" * 5000).json()["error"]["code"] == "context_length_exceeded"


def test_a_response_says_what_the_chat_says(chat: Served, expected) -> None:
    prompt, tokens, text = expected
    fields: Any = {"model": "tiny", "input": "hello world", "max_output_tokens": 24}
    answer = chat.client.responses.create(**fields, metadata={"a": "b"})
    assert answer.output_text == text
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (prompt, len(tokens))
    assert answer.status == ("incomplete" if len(tokens) == 24 else "completed")
    assert answer.metadata == {"a": "b"}
    events = list(chat.client.responses.create(**fields, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == text
    assert events[-1].response.output_text == text
    with chat.client.responses.stream(**fields) as stream:  # the client checks the order of events itself
        checked = list(stream)
    assert checked[-1].type == ("response.incomplete" if len(tokens) == 24 else "response.completed")
    items: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        *({**item.model_dump(), "id": "msg_1"} for item in answer.output),
        {"role": "user", "content": "world"},
    ]
    assert (
        chat.client.responses.create(**{**fields, "input": items}, instructions="hi").usage.input_tokens
        > prompt
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("background", True),
        ("store", True),
        ("previous_response_id", "resp_1"),
        ("reasoning", {"effort": "high"}),
        ("truncation", "auto"),
        ("tools", [{"type": "web_search"}]),
    ],
)
def test_a_response_refuses_by_name(chat: Served, field: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat.client.responses.create(model="tiny", input="x", **{field: value})
    assert caught.value.param.split(".")[0] == field


def test_a_response_calls_and_keeps_to_a_schema(tiny_genai, tmp_path) -> None:
    with_tools(tiny_genai, tmp_path / "copy")
    with serving(tmp_path / "copy", "genai", "causal-lm", tmp_path, max_new_tokens=160) as served:
        create = served.client.responses.create
        fields: Any = {"model": "tiny", "input": "hello", "tools": [TOOL], "tool_choice": "required"}
        (call,) = create(**fields).output
        assert (call.type, call.name) == ("function_call", "find")
        assert json.loads(call.arguments)["n"] in (1, 2)
        ended = list(create(**fields, stream=True))[-1]
        assert ended.response.output[0].arguments == call.arguments
        history: Any = [
            {"role": "user", "content": "hello"},
            {"type": "function_call", "call_id": call.call_id, "name": "find", "arguments": call.arguments},
            {"type": "function_call_output", "call_id": call.call_id, "output": "3"},
        ]
        assert create(model="tiny", input=history, max_output_tokens=2).usage.output_tokens > 0
        text: Any = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}}
        assert set(json.loads(create(model="tiny", input="hello", text=text).output_text)) == {"word", "n"}


def test_what_is_missing_says_so(chat: Served) -> None:
    for path in ("/v1/embeddings", "/v1/rerank"):
        answer = httpx.post(f"{chat.url}{path}", json={"model": "tiny", "input": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unsupported_task")
    with pytest.raises(openai.NotFoundError):
        chat.client.responses.retrieve("resp_1")
