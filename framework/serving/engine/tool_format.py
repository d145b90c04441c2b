"""How a model writes tool calls: derived from its own chat template, which writes a probe.

Most templates write a call as a JSON object with the function's name and its arguments, between two markers,
or as the whole answer. Forms without JSON, such as XML parameters or Python calls, are not derived: their
text stays text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.build.engine.sampling import Part
from framework.build.model.chat import render_text, tokenize
from framework.core.errors import DataError

_NAME, _KEY, _VALUE = "probe_name", "probe_key", "probe_value"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "probe",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string"}}},
    },
}
_CALL = {
    "id": "probe0123",  # nine characters: Mistral's templates demand them
    "type": "function",
    "function": {"name": _NAME, "arguments": {_KEY: _VALUE}},
}
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True)
class ToolFormat:
    """The form of a call in an answer, as the client's text shows it: without special tokens."""

    begin: str
    """What stands before the JSON, with its blanks; may be blank."""
    end: str
    """What stands after it; may be blank."""
    name: str
    """The key of the function's name."""
    arguments: str
    """The key of its arguments."""
    listed: bool = False
    """Whether the calls of an answer are the items of one list."""

    def grammar(self, tools: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
        """Return the grammar of one call of one of *tools*, OpenAI's definitions."""
        calls = [
            {
                "type": "object",
                "properties": {
                    self.name: {"const": tool["function"]["name"]},
                    self.arguments: tool["function"].get("parameters") or {"type": "object"},
                },
                "required": [self.name, self.arguments],
                "additionalProperties": False,
            }
            for tool in tools
        ]
        schema: dict[str, Any] = calls[0] if len(calls) == 1 else {"anyOf": calls}
        if self.listed:
            schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": 1}
        parts = [("text", self.begin), ("schema", json.dumps(schema)), ("text", self.end)]
        return tuple((kind, text) for kind, text in parts if kind == "schema" or text.strip())

    def calls(self, value: Any) -> list[tuple[str, str]] | None:
        """Return the calls that the JSON *value* is, as names and JSON arguments; None if it is none."""
        items = value if isinstance(value, list) else [value]
        found = []
        for item in items:
            if not isinstance(item, Mapping) or not isinstance(name := item.get(self.name), str):
                return None
            arguments = item.get(self.arguments, {})
            if isinstance(arguments, str):
                try:
                    arguments = json.loads(arguments)
                except ValueError:
                    return None
            if not isinstance(arguments, Mapping):
                return None
            found.append((name, json.dumps(arguments, ensure_ascii=False)))
        return found or None


def derive(tokenizer: Any) -> ToolFormat | None:
    """Return the form in which *tokenizer*'s chat template writes calls; None if it cannot be derived."""
    asked: list[dict[str, Any]] = [{"role": "user", "content": "?"}]
    turn = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    try:
        prompt = render_text(tokenizer, asked, [_TOOL], prompt=True)
        text = render_text(tokenizer, [*asked, turn], [_TOOL], prompt=False)
    except DataError:
        return None
    if not text.startswith(prompt):
        # The prompt may open a block of thoughts that a finished turn lacks.
        prompt = _THOUGHT.sub("", prompt).rstrip()
        if not text.startswith(prompt):
            return None
    return _read(tokenizer, _THOUGHT.sub("", text[len(prompt) :]))


def _read(tokenizer: Any, answer: str) -> ToolFormat | None:
    """Return the form of the call that *answer* is; it ends with the template's end of a turn."""
    for match in re.finditer(r"[\[{]", answer):
        start = match.start()
        try:
            value, end = json.JSONDecoder().raw_decode(answer, start)
        except ValueError:
            continue
        first = value[0] if isinstance(value, list) and value else value
        if not isinstance(first, dict):
            continue
        name = next((key for key, item in first.items() if item == _NAME), None)
        arguments = next(
            (key for key, item in first.items() if item in ({_KEY: _VALUE}, json.dumps({_KEY: _VALUE}))), None
        )
        if name and arguments:
            begin, after = (_visible(tokenizer, part) for part in (answer[:start], answer[end:]))
            return ToolFormat(begin, after.rstrip(), name, arguments, isinstance(value, list))
    return None


def _visible(tokenizer: Any, text: str) -> str:
    """Return *text* as an answer shows it, without special tokens."""
    return str(
        tokenizer.decode(
            tokenize(tokenizer, text), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    )
