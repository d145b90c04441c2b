"""The JSON Schema of a conversation and its tools, as ``framework.build.data.turns`` reads it.

It documents OpenAI's form. ShareGPT's keys and names of roles are read too.
"""

from typing import Any

from pydantic import WithJsonSchema
from pydantic.config import JsonDict

JSON_OBJECT = "json-object"
"""The format of a text that is the JSON of an object."""
_NOTHING: dict[str, Any] = {"enum": [None, "", [], {}]}
_TEXT: JsonDict = {"type": "string", "pattern": "^[^\\u0000]*$"}
_WORDS: JsonDict = {"type": "string", "pattern": "^[^\\u0000]*[^\\u0000\\s][^\\u0000]*$"}
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
_SPEAKS: JsonDict = {"required": ["role"], "properties": {"role": {"enum": ["user", "tool", "assistant"]}}}
_SAYS: JsonDict = {
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
TEXT, WORDS = WithJsonSchema(_TEXT), WithJsonSchema(_WORDS)
CALL_ID = WithJsonSchema({"anyOf": [_WORDS, {"const": ""}]})
ARGUMENTS = WithJsonSchema({"type": "string", "format": JSON_OBJECT})
_ITEMS_SPEAK: JsonDict = {
    "required": ["type"],
    "properties": {"type": {"enum": ["function_call", "function_call_output"]}},
}
SPOKEN: JsonDict = {
    "anyOf": [
        {"properties": {"input": {"type": "string"}}},
        {"properties": {"input": {"contains": {"anyOf": [_SPEAKS, _ITEMS_SPEAK, _SAYS]}}}},
        {"required": ["instructions"], "properties": {"instructions": _WORDS}},
    ]
}
"""The items of ``/v1/responses`` are more than blank system prompts."""
_FUNCTION: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "parameters": {"type": ["object", "null"]}},
}
_TOOL = {
    "type": "object",
    "required": ["function"],
    "properties": {"type": {"enum": ["function", None]}, "function": _FUNCTION, "name": {"type": "null"}},
}
_BARE = {**_FUNCTION, "properties": {**_FUNCTION["properties"], "type": {"enum": ["function", None]}}}
TOOLS = WithJsonSchema({"type": "array", "items": {"anyOf": [_TOOL, _BARE]}})
CALLABLE: JsonDict = {
    "anyOf": [
        {"properties": {"tool_choice": {"enum": [None, "none", "auto"]}}},
        {"required": ["tools"], "properties": {"tools": {"type": "array", "minItems": 1}}},
    ]
}
"""A call can be required only of a tool."""
ANY_TEXT: JsonDict = {"properties": {"type": {"enum": ["text", None]}}}
"""A format that is none."""


def no_calls_in(**formats: JsonDict) -> JsonDict:
    """Return that an answer has a format, which *formats* are without, or can have calls."""
    return {
        "anyOf": [
            {"properties": {**formats}},
            {"properties": {"tools": {"anyOf": [{"type": "null"}, {"type": "array", "maxItems": 0}]}}},
            {"required": ["tool_choice"], "properties": {"tool_choice": {"const": "none"}}},
        ]
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
