"""The JSON Schema of a conversation, as ``framework.build.data.turns`` reads it.

It documents OpenAI's form. ShareGPT's keys and names of roles are read too.
"""

from typing import Any

from pydantic import WithJsonSchema

JSON_OBJECT = "json-object"
"""The format of a text that is the JSON of an object."""
_NOTHING: dict[str, Any] = {"enum": [None, "", [], {}]}
_TEXT = {"type": "string", "pattern": "^[^\\u0000]*$"}
_WORDS = {"type": "string", "pattern": "^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$"}
_WORDS_OR_NOTHING = {"anyOf": [_WORDS, _NOTHING]}
_PART = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {"type": {"const": "text"}, "text": _TEXT},
    "additionalProperties": _NOTHING,
}
_CONTENT = {"anyOf": [_TEXT, {"type": "array", "items": _PART}]}
_MAYBE = {"anyOf": [_CONTENT, {"type": "null"}]}
_CALL = {
    "type": "object",
    "required": ["function"],
    "properties": {
        "function": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "arguments": {
                    "anyOf": [{"type": "object"}, {"type": "null"}, {"type": "string", "format": JSON_OBJECT}]
                },
            },
        },
    },
}


def _turn(title: str, roles: list[str], required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "required": ["role", *required],
        "properties": {"role": {"enum": roles}, "name": _WORDS_OR_NOTHING, **properties},
        "additionalProperties": _NOTHING,
    }


_ASSISTANT = {"reasoning_content": _WORDS_OR_NOTHING}
_SPEAKS = {"required": ["role"], "properties": {"role": {"enum": ["user", "tool", "assistant"]}}}
_SAYS = {
    "required": ["content"],
    "properties": {
        "content": {
            "anyOf": [
                _WORDS,
                {
                    "type": "array",
                    "contains": {"required": ["text"], "properties": {"text": _WORDS}},
                },
            ]
        }
    },
}
TURNS = WithJsonSchema(
    {
        "type": "array",
        "minItems": 1,
        "description": "The turns so far; more than blank system prompts.",
        "items": {
            "anyOf": [
                _turn("Prompt", ["user", "system", "developer"], ["content"], content=_CONTENT),
                _turn("ToolResult", ["tool"], ["content"], content=_CONTENT, tool_call_id=_WORDS_OR_NOTHING),
                _turn("Answer", ["assistant"], [], content=_MAYBE, **_ASSISTANT),
                _turn(
                    "Calls",
                    ["assistant"],
                    ["tool_calls"],
                    content=_MAYBE,
                    tool_calls={"type": "array", "minItems": 1, "items": _CALL},
                    **_ASSISTANT,
                ),
            ]
        },
        "contains": {"anyOf": [_SPEAKS, _SAYS]},
    }
)
