"""The schemas of requests, narrowed to what this server accepts."""

from typing import Any

from framework.serving.api.service import Service
from framework.serving.api.turn_schema import ANY_TEXT

Properties = dict[str, dict[str, Any]]
_BY_ITSELF: dict[str, dict[str, dict[str, Any]]] = {
    "min_p": {"min_p": {"enum": [None, 0]}},
    "presence_penalty": {"presence_penalty": {"enum": [None, 0]}},
    "frequency_penalty": {"frequency_penalty": {"enum": [None, 0]}},
    "repetition_penalty": {"repetition_penalty": {"enum": [None, 1]}},
    "top_k": {"top_k": {"enum": [None, -1, 0]}},
    "logit_bias": {"logit_bias": {"additionalProperties": {"const": 0}}},
    "top_logprobs": {"logprobs": {"enum": [None, False]}, "include": {"maxItems": 0}},
    "grammar": {
        "response_format": ANY_TEXT,
        "text": {"properties": {"format": ANY_TEXT}},
        "tool_choice": {"enum": [None, "none", "auto"]},
    },
}
"""What is left of the properties of requests without a field of ``Sampling``."""
_KEPT: dict[str, dict[str, Any]] = {
    "background": {"enum": [None, False]},
    "store": {"enum": [None, False]},
    "previous_response_id": {"type": "null"},
}
"""What is left of the properties of a response on a server that keeps none."""


def narrow(properties: Properties, service: Service) -> None:
    """Add what this server accepts to the properties of a request."""
    most = {"maximum": service.limits.max_new_tokens}
    limits: dict[str, dict[str, Any]] = {"model": {"enum": [service.release.name, *service.adapters]}}
    if service.context is not None:
        limits["truncate_prompt_tokens"] = {"maximum": service.context}
    limits |= dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens"), most)
    for name, limit in limits.items():
        if name in properties:
            for branch in properties[name].get("anyOf", [properties[name]]):
                branch |= {} if branch.get("type") == "null" else limit
    if service.background is None and "previous_response_id" in properties:
        for name, rest in _KEPT.items():
            properties[name] |= rest
    if (can := service.can()) is None:
        return
    if "dimensions" in properties:
        properties["dimensions"] |= {"enum": [None, can.dimensions]}
    for field in can.refused:
        for name, rest in _BY_ITSELF[field].items():
            if name in properties:
                properties[name] |= rest
    if not can.chats and "messages" in properties:
        properties["messages"] = {"type": "null"}
    if not can.starts and "echo" in properties:
        _fill_texts(properties["prompt"])
    for name in ("prompt", "tokens", "input"):
        _bound_ids(properties.get(name, {}), can.vocabulary)


def _bound_ids(schema: dict[str, Any], vocabulary: int) -> None:
    """Let the token ids in *schema* be smaller than *vocabulary*."""
    if schema.get("type") == "integer":
        schema["maximum"] = vocabulary - 1
    for part in _parts(schema):
        _bound_ids(part, vocabulary)


def _fill_texts(schema: dict[str, Any]) -> None:
    """Let no text in *schema* be empty."""
    if schema.get("type") == "string":
        schema["minLength"] = 1
    for part in _parts(schema):
        _fill_texts(part)


def _parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    items = [schema["items"]] if "items" in schema else []
    return [*schema.get("anyOf", ()), *items]
