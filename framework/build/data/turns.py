"""Read the turns of a conversation, for rows to learn from and for the server's requests alike.

Because one module reads both, what training takes the server takes. It knows neither templates nor tokens.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Required, TypedDict

from framework.build.data.row_values import is_missing, kind_of, require_text
from framework.build.data.tool_calls import read_calls, read_function_call
from framework.core.errors import DataError


class Message(TypedDict, total=False):
    """One turn of a conversation; an assistant turn may call tools, with or without text.

    ``reasoning_content`` are the thoughts before an assistant's answer. ``train`` is there only where it
    is False: an assistant turn that is context, and is not learned.
    """

    role: Required[str]
    content: Required[str]
    reasoning_content: str
    name: str
    tool_call_id: str
    tool_calls: list[dict[str, Any]]
    train: bool


ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "bot", "model", "ai"), "assistant"),
    "function_call": "assistant",
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
}
"""Who speaks, in OpenAI's and ShareGPT's words, to the role in a chat template."""

TURN_KEYS = (
    *("role", "content", "from", "value", "name", "tool_calls", "tool_call_id", "function_call"),
    *("reasoning_content", "reasoning", "weight", "train"),
)
"""Every key of a turn that is read."""


def turn_of(role: str, content: str) -> Message:
    """Return a turn that is only text."""
    return {"role": role, "content": content}


def read_turns(items: Any, key: str, unused: set[str]) -> list[Message]:
    """Read the list of turns under *key* of a row; see ``read_turn``.

    Raises:
        DataError: it is not a list, or a turn is broken.
    """
    if not isinstance(items, list | tuple):
        raise DataError(f"{key} must be a list of turns, not {kind_of(items)}")
    return spoken(
        read_turn(turn, f"turn {number} of {key}", f"{key}[]", unused) for number, turn in enumerate(items, 1)
    )


def spoken(turns: Iterable[Message]) -> list[Message]:
    """Return *turns* without blank system prompts: many files and clients write one for none."""
    return [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]


def read_turn(turn: Any, label: str, path: str, unused: set[str], *, blank: bool = False) -> Message:
    """Read one turn, ``role`` and ``content`` or ShareGPT's ``from`` and ``value``.

    Args:
        turn: the turn.
        label: its name in errors, such as ``turn 2 of messages``.
        path: the name of its keys, such as ``messages[]``.
        unused: gets the keys that are not read, such as ``messages[].id``.
        blank: whether its text may be blank, as it may in a request. A system prompt's and a tool's always
            may: see ``spoken``, and a tool may return nothing.

    Raises:
        DataError: the turn is broken, or says something that cannot be carried.
    """
    shared = isinstance(turn, Mapping) and "role" not in turn
    role_key, text_key = ("from", "value") if shared and "from" in turn else ("role", "content")
    if not isinstance(turn, Mapping) or role_key not in turn:
        raise DataError(f"{label} must be an object with 'role' and 'content', or 'from' and 'value'")
    rest = {str(key): value for key, value in turn.items() if not is_missing(value)}
    role = _role(rest.pop(role_key, None), role_key, label)
    calls = _calls(rest, turn[role_key], text_key, label)
    if calls and role != "assistant":
        raise DataError(f"{label} has 'tool_calls', but only the assistant calls tools")
    if turn.get(text_key) is None and not calls:
        raise DataError(f"{label} must be an object with '{role_key}' and '{text_key}'")
    content = _joined(rest.pop(text_key, ""), f"{text_key} in {label}", f"{path}.{text_key}", unused)
    content = require_text(
        content, f"{text_key} in {label}", blank=blank or bool(calls) or role in ("system", "tool")
    )
    message = turn_of(role, content)
    _add_thoughts(message, rest, label)
    if calls:
        message["tool_calls"] = calls
    if "name" in rest:
        message["name"] = require_text(rest.pop("name"), f"name in {label}")
    if "tool_call_id" in rest:
        message["tool_call_id"] = require_text(rest.pop("tool_call_id"), f"tool_call_id in {label}")
    if not _is_learned(rest, role, label):
        message["train"] = False
    unused.update(f"{path}.{key}" for key in rest)
    return message


def _role(who: Any, key: str, label: str) -> str:
    role = ROLES.get(who.lower()) if isinstance(who, str) else None
    if role is None:
        raise DataError(f"{label}: '{key}' is {who!r}; should be one of {', '.join(ROLES)}")
    return role


def _calls(rest: dict[str, Any], who: str, text_key: str, label: str) -> list[dict[str, Any]]:
    """Take the tool calls out of *rest*, the keys of a turn that have a value."""
    if who.lower() == "function_call":  # the turn is the call
        if text_key not in rest:
            raise DataError(f"empty {text_key} in {label}")
        return read_function_call(rest.pop(text_key), label)
    keys = [key for key in ("tool_calls", "function_call") if key in rest]
    if len(keys) > 1:
        raise DataError(f"{label} has both 'tool_calls' and 'function_call'; keep 'tool_calls'")
    if not keys:
        return []
    read = read_calls if keys == ["tool_calls"] else read_function_call
    return read(rest.pop(keys[0]), label)


def _joined(content: Any, name: str, path: str, unused: set[str]) -> Any:
    """Return content parts as one text, end to end; anything but a list as it is."""
    if not isinstance(content, list | tuple):
        return content
    texts = []
    for number, part in enumerate(content, 1):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind != "text":
            raise DataError(f"part {number} of {name} has type {kind!r}; only parts of type 'text' are read")
        texts.append(require_text(part.get("text"), f"part {number} of {name}", blank=True))
        unused.update(
            f"{path}[].{key}"
            for key, value in part.items()
            if key not in ("type", "text") and not is_missing(value)
        )
    return "".join(texts)


def _add_thoughts(message: Message, rest: dict[str, Any], label: str) -> None:
    """Move ``reasoning_content``, or vLLM's ``reasoning``, from *rest* to *message*."""
    keys = [key for key in ("reasoning_content", "reasoning") if key in rest]
    thoughts = {key: require_text(rest.pop(key), f"{key} in {label}") for key in keys}
    if not thoughts:
        return
    if message["role"] != "assistant":
        raise DataError(f"{label} has '{keys[0]}', but only the assistant's turns have thoughts")
    if len(set(thoughts.values())) > 1:
        raise DataError(f"{label} has 'reasoning_content' and another 'reasoning'; keep one")
    message["reasoning_content"] = thoughts[keys[0]]


def _is_learned(rest: dict[str, Any], role: str, label: str) -> bool:
    """Take OpenAI's ``weight`` and Axolotl's ``train`` out of *rest*; return whether the turn is learned."""
    wishes = {key: rest.pop(key) for key in ("weight", "train") if key in rest}
    for key, value in wishes.items():
        if not isinstance(value, bool | int | float) or value not in (0, 1):
            one = "true or false" if key == "train" else "0 or 1; a turn is learned or not, nothing between"
            raise DataError(f"{key} in {label} is {value!r}; should be {one}")
        if value and role != "assistant":
            raise DataError(f"{key} in {label} asks to learn the {role}'s turn; only the assistant's can be")
    if len({bool(value) for value in wishes.values()}) > 1:
        raise DataError(f"weight and train in {label} contradict each other; keep one")
    return role != "assistant" or all(wishes.values())
