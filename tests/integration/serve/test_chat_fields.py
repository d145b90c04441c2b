"""Fields of the chat endpoint through the openai client, on engines that do different ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import openai
import pytest
from calling_model import SCHEMA, with_tools
from server_process import HELLO, Served, serving

TOOLS: Any = [
    {"type": "function", "function": {"name": "find", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}}}},
]
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}


OPTIONS: Any = {"max_batch_size": 4, "max_new_tokens": 160, "max_wait_seconds": 60}


@pytest.fixture(scope="module")
def torch(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = with_tools(tiny_llama, tmp_path_factory.mktemp("model") / "copy")
    with serving(model, "torch", "causal-lm", tmp_path_factory.mktemp("torch"), **OPTIONS) as server:
        yield server


@pytest.fixture(scope="module", params=["openvino", "genai", "torch"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if request.param == "torch":
        yield request.getfixturevalue("torch")
        return
    if request.param == "openvino":
        pytest.importorskip("openvino_genai")
    copy = tmp_path_factory.mktemp("model") / "copy"
    model = with_tools(request.getfixturevalue(f"tiny_{request.param}"), copy)
    folder: Path = tmp_path_factory.mktemp("served")
    with serving(model, request.param, "causal-lm", folder, **OPTIONS) as server:
        yield server


def ask(served: Served, **fields: Any) -> Any:
    return served.client.chat.completions.create(**{"model": "tiny", "messages": HELLO, **fields})


def ended(served: Served, **fields: Any) -> tuple[Any, int]:
    """Return the first answer that ends by itself, and its seed.

    OpenVINO's grammars allow blanks without end, and a random model writes some.
    """
    for seed in range(12):
        answer = ask(served, **fields, temperature=2, seed=seed)
        if answer.choices[0].finish_reason != "length":
            return answer, seed
    pytest.fail("no answer ended")


def test_schema_is_kept(served: Served) -> None:
    answer, _ = ended(served, response_format=FORMAT)
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content), SCHEMA)
    greedy = ask(served, response_format={"type": "json_object"}, max_tokens=30).choices[0]
    assert greedy.message.content.lstrip().startswith("{")


def test_schema_that_cannot_be_used_is_the_clients_error(served: Served) -> None:
    broken: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        ask(served, response_format=broken)
    assert caught.value.param == "response_format"
    assert str(Path(f"/proc/{served.process.pid}/cwd").readlink()) not in str(caught.value)
    assert ask(served, max_tokens=3).usage.completion_tokens > 0, "the engine goes on"


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", {"find", "stop"}), ({"type": "function", "function": {"name": "find"}}, {"find"})],
)
def test_required_call_is_called(served: Served, choice: Any, names: set[str]) -> None:
    fields = {"tools": TOOLS, "tool_choice": choice}
    whole, seed = ended(served, **fields)
    answer = whole.choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None
    (call,) = answer.message.tool_calls
    assert call.function.name in names
    arguments = json.loads(call.function.arguments)
    if call.function.name == "find":
        jsonschema.validate(arguments, SCHEMA)
    chunks = list(ask(served, **fields, temperature=2, seed=seed, stream=True))
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert [(delta.index, delta.function.name) for delta in deltas] == [(0, call.function.name)]
    assert json.loads("".join(delta.function.arguments for delta in deltas)) == arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    talk = [*HELLO, answer.message.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "3"}]
    assert ask(served, messages=talk, tools=TOOLS, max_tokens=2).usage.completion_tokens > 0


def test_several_answers_have_their_own_index(served: Served) -> None:
    fields = {"n": 3, "temperature": 1.5, "seed": 1, "max_tokens": 12}
    answer = ask(served, **fields)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    streamed = ["", "", ""]
    reasons = set()
    chunks = list(ask(served, **fields, stream=True, stream_options={"include_usage": True}))
    for chunk in chunks[:-1]:
        (choice,) = chunk.choices
        streamed[choice.index] += choice.delta.content or ""
        reasons |= {choice.index} if choice.finish_reason else set()
    assert (streamed, reasons) == (texts, {0, 1, 2})
    assert chunks[-1].usage == answer.usage


def test_usage_runs_along_a_stream(served: Served) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(ask(served, max_tokens=12, stream=True, stream_options=options))
    running = [chunk.usage.completion_tokens for chunk in chunks]
    assert running == sorted(running)
    assert running[0] == 0 < running[-1] == running[-2]
    assert len(set(running)) > 3


def test_extra_fields_change_the_answer(served: Served) -> None:
    plain = ask(served, max_tokens=24).choices[0].message.content
    assert (
        ask(served, max_tokens=24, extra_body={"repetition_penalty": 1.8}).choices[0].message.content != plain
    )
    body = {"ignore_eos": True, "top_k": 50}
    assert ask(served, max_tokens=100, temperature=2, extra_body=body).usage.completion_tokens == 100


def test_field_that_the_engine_lacks_is_refused_by_name(served: Served) -> None:
    if served.engine == "torch":
        return  # it has all fields
    for field, value in (("logit_bias", {"5": 3}), ("top_logprobs", 5)):
        extra = {"logprobs": True} if field == "top_logprobs" else {}
        with pytest.raises(openai.BadRequestError) as caught:
            ask(served, **{field: value}, **extra)
        assert caught.value.param in (field, "logprobs")
    schemas = httpx.get(f"{served.url}/openapi.json").json()["components"]["schemas"]
    assert schemas["ChatRequest"]["properties"]["logit_bias"]["additionalProperties"] == {"const": 0}


def test_log_probabilities_belong_to_the_text(torch: Served) -> None:
    fields = {"logprobs": True, "top_logprobs": 3, "max_tokens": 12}
    answer = ask(torch, **fields)
    scores = answer.choices[0].logprobs.content
    assert len(scores) == answer.usage.completion_tokens
    assert all(len(score.top_logprobs) == 3 for score in scores)
    assert all(score.token == score.top_logprobs[0].token for score in scores), "decoding is greedy"
    assert all(score.logprob <= 0 for score in scores)
    streamed = [
        score
        for chunk in ask(torch, **fields, stream=True)
        for score in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert streamed == scores


def test_bias_decides_the_token(torch: Served) -> None:
    plain = ask(torch, max_tokens=8, logprobs=True, top_logprobs=0).choices[0]
    biased = ask(torch, max_tokens=8, logit_bias={"20": 100}).choices[0]
    assert len(set(biased.message.content)) == 1 != len(set(plain.message.content))
