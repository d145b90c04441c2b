"""What a model elsewhere is asked: a conversation in the form of OpenAI's chat API."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from framework.build.engine import Sampling
from framework.serving.answers import Generation
from framework.serving.answers.fallback_answers import Unanswered

_ALWAYS = ("temperature", "top_p")
"""Fields of a sampling that are always sent, since another server can have other defaults."""
_IF_SET = ("presence_penalty", "frequency_penalty")
_OURS = {"adapter": "model", "past_end": "ignore_eos"}
"""What the API calls fields that another server does not know."""
_TURN_KEYS = ("role", "content", "name", "tool_call_id")


def request_body(asked: Generation, model: str) -> dict[str, Any]:
    """Return the body of the request, for a stream that ends with its usage.

    Args:
        asked: what the client asked.
        model: the name of the model elsewhere.

    Raises:
        Unanswered: it has a field that OpenAI's API does not have, or that means another thing elsewhere.
    """
    payload, sampling = asked.payload, asked.payload["sampling"]
    _check(payload)
    body: dict[str, Any] = {
        "model": model,
        "messages": [_turn(turn) for turn in payload["messages"]],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: sampling[name] for name in _ALWAYS},
        **{name: sampling[name] for name in _IF_SET if sampling.get(name)},
        **_format(sampling.get("grammar")),
        **_tools(payload),
    }
    if sampling.get("seed") is not None:
        body["seed"] = sampling["seed"]
    if (scores := sampling.get("top_logprobs")) is not None:
        body |= {"logprobs": True, "top_logprobs": scores}
    if asked.limit_is_own:  # else the model's own, which may be lower
        body["max_tokens"] = asked.limit
    if stops := list(payload["stops"]):
        body["stop"] = stops
    return body


def check_conversation(payload: Mapping[str, Any]) -> None:
    """Check that a payload is a conversation.

    Raises:
        Unanswered: it is a text to continue.
    """
    if not payload.get("messages"):
        raise Unanswered("it answers conversations only", "prompt")


def _check(payload: Mapping[str, Any]) -> None:
    check_conversation(payload)
    known = {"messages", "tools", "calls", "stops", "sampling"}
    unknown = [name for name, value in payload.items() if name not in known and value]
    sent = {*_ALWAYS, *_IF_SET, "seed", "top_logprobs", "grammar"}
    default = asdict(Sampling())
    unknown += [
        name
        for name, value in payload["sampling"].items()
        if name not in sent and value != default.get(name)  # biases are of tokens, and theirs are others
    ]
    if unknown:
        name = _OURS.get(unknown[0], unknown[0])
        raise Unanswered(f"another model cannot be asked with {name}", name)


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """Return a turn as clients send it: the chat template's has objects as arguments."""
    if "reasoning_content" in turn:
        raise Unanswered("another model does not read reasoning_content", "messages")
    sent = {key: turn[key] for key in _TURN_KEYS if key in turn}
    calls = []
    for call in turn.get("tool_calls", ()):
        if "id" not in call:
            raise Unanswered("another model needs an id in each of tool_calls", "messages")
        function = call["function"]
        arguments = json.dumps(function["arguments"], ensure_ascii=False)
        named = {"name": function["name"], "arguments": arguments}
        calls.append({"id": call["id"], "type": "function", "function": named})
    return sent | ({"tool_calls": calls} if calls else {})


def _tools(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tools that may be called, and whether one must be."""
    calls = payload.get("calls")
    if not calls or not payload["tools"]:
        return {}
    tools = [tool for tool in payload["tools"] if tool["function"]["name"] in calls["names"]]
    choice = {"tool_choice": "required" if calls["required"] else "auto"}
    one = {} if calls["parallel"] else {"parallel_tool_calls": False}
    return {"tools": [{"type": "function", **tool} for tool in tools], **choice, **one}


def _format(grammar: Any) -> dict[str, Any]:
    """Return the ``response_format`` that a request's grammar came from."""
    if not grammar:
        return {}
    ((_, text),) = grammar
    if (schema := json.loads(text)) == {"type": "object"}:
        return {"response_format": {"type": "json_object"}}
    # Strict, since this server's own answers always keep to the schema.
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
