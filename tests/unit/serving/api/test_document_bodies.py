"""A body that the document allows is one that the server reads, and no other, whatever its engine can do."""

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from framework.build.engine import Sampling
from framework.build.engine.sampling import ALL, BASIC, refused_fields
from framework.serving.api.body import read_request
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api.completions import CompletionRequest
from framework.serving.api.embedding_request import EmbeddingRequest, ReadsTexts, RerankRequest
from framework.serving.api.narrowed import narrow
from framework.serving.api.response_request import ResponseRequest
from framework.serving.api.tokens import TokenizeRequest
from framework.serving.api_error import ApiError
from framework.serving.engine.model_worker import Abilities
from framework.serving.limits import Limits

TALK = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": None}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
CHAT: list[dict[str, Any]] = [
    *({"min_p": value} for value in (None, 0, 0.5)),
    *({"top_k": value} for value in (None, -1, 0, 5)),
    *({"presence_penalty": value} for value in (0.0, 1)),
    *({"frequency_penalty": value} for value in (0, -1)),
    *({"repetition_penalty": value} for value in (1, 1.5, 5e-324)),
    *({"logit_bias": value} for value in ({}, {"5": 0}, {"5": 3}, {"five": 3})),
    *({"store": value} for value in (None, False, 0, "", [], {}, True, {"a": 1})),
    *({"logprobs": value} for value in (None, False, True)),
    *({"top_logprobs": value} for value in (None, 0, 2)),
    {"logprobs": True, "top_logprobs": 2},
    *({"response_format": value} for value in ({}, {"type": "text"}, {"type": "json_object"}, SCHEMA)),
    {"response_format": {"type": "json_schema"}},
    {"response_format": SCHEMA, "tools": [TOOL]},
    {"response_format": SCHEMA, "tools": [TOOL], "tool_choice": "none"},
    *({"tools": tools} for tools in ([], [TOOL], [TOOL["function"]], [{}], [{**TOOL, "type": "custom"}])),
    {"tools": [{"name": "f", "parameters": []}]},
    {"tool_choice": "required"},
]
TEXT: list[dict[str, Any]] = [
    *({"prompt": prompt} for prompt in ("hi", [1.0, 2], ["a", "b"], [[1], [2]], [], [-1])),
    *({"prompt": "hi", "n": n} for n in (None, 16, 17)),
    *({"prompt": ["a"] * 5, "n": n} for n in (None, 1, 3, 4)),
    {"prompt": list(range(30)), "n": 16},
    *({"prompt": "hi", "echo": echo, "logprobs": scores} for echo in (False, True) for scores in (None, 1)),
    *({"prompt": "hi", "suffix": suffix} for suffix in ("", {}, "x")),
]

ITEMS: list[dict[str, Any]] = [
    *({"input": value} for value in ("", "hi", "\0", [])),
    *(
        {"input": [{"role": role, "content": text}]}
        for role in ("user", "system")
        for text in ("", "x", "\0")
    ),
    {"input": [{"role": "system", "content": " "}], "instructions": "x"},
    {"input": "hi", "text": {"format": {"type": "json_schema", "name": "x"}}},
    {"input": "hi", "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}},
    {"input": "hi", "image": {}},
    {"input": "hi", "tool_choice": "required"},
]
WORDS: list[dict[str, Any]] = [{}, {"prompt": "x"}, {"prompt": "x", "messages": TALK}, {"messages": TALK}]


def allowed(
    kind: Any, body: dict[str, Any], refused: list[str], chats: bool = True, keeps: bool = False
) -> bool:
    """Return whether the schema of a server allows *body*."""
    schema = kind.model_json_schema()
    service = SimpleNamespace(
        limits=Limits(64, 0, 10, 20),
        release=SimpleNamespace(name="tiny"),
        adapters={},
        context=128,
        background=object() if keeps else None,
        can=lambda: Abilities(100, True, chats, refused, dimensions=32),
    )
    narrow(schema["properties"], service)
    return bool(Draft202012Validator(schema).is_valid(body))


def is_read(kind: Any, body: dict[str, Any], does: frozenset[str], keeps: bool = False) -> bool:
    """Return whether the server reads *body* for an engine that *does* these fields of a sampling."""
    try:
        read = read_request(kind, json.dumps(body).encode())
        if kind is ResponseRequest:
            read.check_kept(keeps=keeps)
            read = read.chat()
        payloads = [read.payload()] if kind is TokenizeRequest else read.payloads()
    except ApiError:
        return False
    samplings = [Sampling.of(payload["sampling"]) for payload in payloads if "sampling" in payload]
    return all(sampling.first_beyond(does) is None for sampling in samplings)


@pytest.mark.parametrize("does", [BASIC, ALL - {"grammar"}, ALL], ids=["basic", "scored", "all"])
@pytest.mark.parametrize(
    ("kind", "needed", "bodies"),
    [
        (ChatRequest, {"model": "tiny", "messages": TALK}, CHAT),
        (CompletionRequest, {"model": "tiny"}, TEXT),
        (ResponseRequest, {"model": "tiny"}, ITEMS),
        (TokenizeRequest, {}, WORDS),
    ],
)
def test_document_allows_what_is_read(kind, needed, bodies, does):
    refused = refused_fields(lambda sampling: sampling.first_beyond(does))
    assert set(refused) == ALL - BASIC - does
    told = {str(body): allowed(kind, {**needed, **body}, refused) for body in bodies}
    assert told == {str(body): is_read(kind, {**needed, **body}, does) for body in bodies}
    assert {*told.values()} == {True, False}


@pytest.mark.parametrize("keeps", [False, True])
def test_document_allows_responses_to_be_kept_where_they_are(keeps):
    values = {"background": (None, False, True), "store": (None, False, True), "stream": (None, True)}
    named = ({}, {"previous_response_id": None}, {"previous_response_id": "resp_1"})
    bodies = [
        {"model": "tiny", "input": "hi", **dict(zip(values, fields, strict=True)), **more}
        for fields in itertools.product(*values.values())
        for more in named
    ]
    told = [allowed(ResponseRequest, body, [], keeps=keeps) for body in bodies]
    assert told == [is_read(ResponseRequest, body, ALL, keeps) for body in bodies]
    assert sum(told) == (42 if keeps else 16)


def test_document_knows_tokens_and_templates():
    assert allowed(CompletionRequest, {"model": "tiny", "prompt": [99]}, [])
    assert not allowed(CompletionRequest, {"model": "tiny", "prompt": [100]}, [])
    assert allowed(TokenizeRequest, {"prompt": "x"}, [], chats=False)
    assert not allowed(TokenizeRequest, {"messages": TALK}, [], chats=False)


CUT: list[dict[str, Any]] = [{"truncate_prompt_tokens": asked} for asked in (None, -1, 0, 1, 128, 129)]
VECTORS: list[dict[str, Any]] = [
    *({"input": given} for given in ("a", "", [], ["a"], [""], [1, 2], [[1], []], ["a", 1], ["a"] * 2049)),
    *({"dimensions": asked} for asked in (None, 32, 16)),
    *({"encoding_format": asked} for asked in (None, "float", "base64", "int8")),
]
RANKS: list[dict[str, Any]] = [
    *({"documents": given} for given in ([], ["a", {"text": "b"}], [""], [{"text": "b", "title": "c"}])),
    *({"top_n": asked} for asked in (None, 0, 9, -1)),
    {"query": ""},
    {"max_chunks_per_doc": 3},
]


@pytest.mark.parametrize(
    ("kind", "needed", "bodies"),
    [
        (EmbeddingRequest, {"model": "tiny", "input": "a"}, VECTORS + CUT),
        (RerankRequest, {"model": "tiny", "query": "a", "documents": ["a"]}, RANKS + CUT),
    ],
)
def test_document_allows_the_texts_that_are_read(kind, needed, bodies):
    def is_embedded(body: dict[str, Any]) -> bool:
        try:
            read: ReadsTexts = read_request(kind, json.dumps(body).encode())
            read.most_tokens(128)
            if isinstance(read, EmbeddingRequest):
                read.check_dimensions(32)
        except ApiError:
            return False
        return True

    told = {str(body): allowed(kind, {**needed, **body}, []) for body in bodies}
    assert told == {str(body): is_embedded({**needed, **body}) for body in bodies}
    assert {*told.values()} == {True, False}
