"""Canonical rows: the one form that every later stage sees, for each kind of data.

It knows no files, tokenizers or templates. It turns a raw row into a canonical row, or says why not.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Required, TypedDict

from framework.build.data.row_values import kind_of, require_objects, require_text, require_texts
from framework.core.errors import DataError
from framework.core.suggest import nearest


class Message(TypedDict, total=False):
    """One turn of a conversation; an assistant turn may call tools, with or without text."""

    role: Required[str]
    content: Required[str]
    name: str
    tool_call_id: str
    tool_calls: list[dict[str, Any]]


class Row(TypedDict, total=False):
    """A canonical row: ``messages`` (and ``tools``) for a conversation, ``text`` for a document.

    ``rejected`` is the worse answer of a preference pair; the better one is the conversation's last turn.
    A document may have a ``label`` or ``labels``, and an ``image``, the path of a file. ``tokens`` are
    words, ``tags`` their tags.
    """

    messages: list[Message]
    tools: list[dict[str, Any]]
    rejected: str
    text: str
    label: str
    labels: list[str]
    image: str
    tokens: list[str]
    tags: list[str]


_RawRow = Mapping[str, Any]


@dataclass(frozen=True)
class _Form:
    """One accepted form: its required and optional keys, and the function that reads it."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[_RawRow], Row]

    def __str__(self) -> str:
        return "+".join(self.required) + "".join(f"[+{key}]" for key in self.optional)


def canonical(raw: Any) -> Row:
    r"""Turn a raw row into its canonical form.

    The form is the first whose required keys are all present, in this order: ``messages``;
    ``conversations`` (ShareGPT); ``instruction``, ``output`` (Alpaca); ``prompt``, ``completion``;
    ``prompt``, ``chosen``, ``rejected`` (preferences); ``tokens``, ``tags``; ``text``, with ``label``
    for one class or ``labels`` for a list of any number.
    Other keys, such as an id, are dropped, but one that resembles an optional key of the form, such as
    ``inputs``, is an error. A null value counts as a missing key.

    >>> canonical({"instruction": "Add.", "input": "1 1", "output": "2"})["messages"][0]["content"]
    'Add.\n\n1 1'

    Raises:
        DataError: the row is empty, broken or has no accepted form. The message is only the reason; the
            caller knows the file and line.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"a row must be an object with keys, not {kind_of(raw)}")
    row = {str(key): value for key, value in raw.items() if value is not None}
    for form in FORMS:
        if all(key in row for key in form.required):
            _reject_near_misses(row, form)
            return form.read(row)
    raise DataError(_unknown_form(row))


def _read_messages(raw: _RawRow) -> Row:
    row = _conversation(_turns(raw["messages"], "messages", "role", "content", ROLES))
    if _present(raw, "tools"):
        row["tools"] = require_objects(raw["tools"], "tools")
    return row


def _read_sharegpt(raw: _RawRow) -> Row:
    turns = _turns(raw["conversations"], "conversations", "from", "value", SPEAKERS)
    return _conversation([*_system(raw), *turns])


def _read_alpaca(raw: _RawRow) -> Row:
    question = require_text(raw["instruction"], "instruction")
    if _present(raw, "input"):
        question += "\n\n" + require_text(raw["input"], "input")
    answer = require_text(raw["output"], "output")
    return _conversation([*_system(raw), _turn("user", question), _turn("assistant", answer)])


def _read_prompt(raw: _RawRow) -> Row:
    question, answer = require_text(raw["prompt"], "prompt"), require_text(raw["completion"], "completion")
    return _conversation([*_system(raw), _turn("user", question), _turn("assistant", answer)])


def _read_preference(raw: _RawRow) -> Row:
    prompt: list[Message] = [_turn("user", raw["prompt"])]
    if isinstance(raw["prompt"], list | tuple):
        prompt = _turns(raw["prompt"], "prompt", "role", "content", ROLES)
    else:
        require_text(raw["prompt"], "prompt")
    chosen, rejected = _answer(raw["chosen"], "chosen"), _answer(raw["rejected"], "rejected")
    if chosen == rejected:
        raise DataError("chosen and rejected are equal; a preference needs two different answers")
    row = _conversation([*_system(raw), *prompt, _turn("assistant", chosen)])
    row["rejected"] = rejected
    return row


def _answer(value: Any, name: str) -> str:
    """Read an answer: text, or a list with a single assistant turn."""
    if isinstance(value, list | tuple):
        turns = _turns(value, name, "role", "content", ROLES)
        if len(turns) != 1 or turns[0]["role"] != "assistant":
            raise DataError(f"{name} must be a single assistant turn; put the turns before it in 'prompt'")
        return turns[0]["content"]
    return require_text(value, name)


def _read_text(raw: _RawRow) -> Row:
    row: Row = {"text": require_text(raw["text"], "text")}
    if "label" in raw:
        label = raw["label"]
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise DataError(f"label must be text or an integer, not {kind_of(label)}")
        row["label"] = require_text(str(label), "label").strip()
    if "image" in raw:
        row["image"] = require_text(raw["image"], "image")
    if "labels" in raw:
        if "label" in raw:
            raise DataError("both 'label' and 'labels'; use 'label' for one class, 'labels' for any number")
        row["labels"] = [label.strip() for label in require_texts(raw["labels"], "labels")]
    return row


def _read_tokens(raw: _RawRow) -> Row:
    tokens, tags = require_texts(raw["tokens"], "tokens"), require_texts(raw["tags"], "tags")
    if not tokens:
        raise DataError("empty tokens")
    if len(tokens) != len(tags):
        raise DataError(f"{len(tokens)} tokens but {len(tags)} tags; give one tag per token")
    return {"tokens": tokens, "tags": tags}


ROLES = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
            "system": "system", "tool": "tool"}  # fmt: skip
FORMS = (
    _Form(("messages",), ("tools",), _read_messages),
    _Form(("conversations",), ("system",), _read_sharegpt),
    _Form(("instruction", "output"), ("input", "system"), _read_alpaca),
    _Form(("prompt", "completion"), ("system",), _read_prompt),
    _Form(("prompt", "chosen", "rejected"), ("system",), _read_preference),
    _Form(("tokens", "tags"), (), _read_tokens),
    _Form(("text",), ("label", "labels", "image"), _read_text),
)
KEYS = tuple(dict.fromkeys(key for form in FORMS for key in (*form.required, *form.optional)))
"""Every key of any form: what ``columns`` may map to."""


def _turns(items: Any, key: str, role_key: str, text_key: str, roles: Mapping[str, str]) -> list[Message]:
    """Read a list of turns; *role_key* and *text_key* are the two keys of a turn."""
    if not isinstance(items, list | tuple):
        raise DataError(f"{key} must be a list of turns, not {kind_of(items)}")
    turns = []
    for number, turn in enumerate(items, 1):
        label = f"turn {number} of {key}"
        calls = turn.get("tool_calls") if isinstance(turn, Mapping) else None
        if not isinstance(turn, Mapping) or role_key not in turn or not (text_key in turn or calls):
            raise DataError(f"{label} must be an object with '{role_key}' and '{text_key}'")
        role = turn[role_key]
        if not isinstance(role, str) or role not in roles:
            raise DataError(f"{label}: '{role_key}' is {role!r}; should be one of {', '.join(roles)}")
        if calls and roles[role] != "assistant":
            raise DataError(f"{label} has 'tool_calls', but only the assistant calls tools")
        without_text = calls and not turn.get(text_key)
        text = "" if without_text else require_text(turn[text_key], f"{text_key} in {label}")
        message = _turn(roles[role], text)
        if calls:
            message["tool_calls"] = _tool_calls(calls, label)
        if isinstance(name := turn.get("name"), str):
            message["name"] = name
        if isinstance(call_id := turn.get("tool_call_id"), str):
            message["tool_call_id"] = call_id
        turns.append(message)
    return turns


def _tool_calls(values: Any, turn: str) -> list[dict[str, Any]]:
    """Read calls in OpenAI's form; arguments become an object, as chat templates expect."""
    calls = []
    for call in require_objects(values, f"tool_calls in {turn}"):
        function = call.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DataError(f"each of tool_calls in {turn} needs 'function' with 'name' and 'arguments'")
        arguments = function.get("arguments", {})
        try:
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            raise DataError(f"the arguments of {function['name']} in {turn} are not JSON") from None
        if not isinstance(arguments, Mapping):
            raise DataError(f"the arguments of {function['name']} in {turn} must be an object")
        named = {"name": function["name"], "arguments": dict(arguments)}
        calls.append({**call, "type": "function", "function": named})
    return calls


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _conversation(turns: list[Message]) -> Row:
    if not turns:
        raise DataError("empty conversation")
    last = turns[-1]["role"]
    if last != "assistant":
        raise DataError(
            f"the last turn must be the assistant's, which is the answer to learn, not the {last}'s"
        )
    return {"messages": turns}


def _system(row: _RawRow) -> list[Message]:
    return [_turn("system", require_text(row["system"], "system"))] if _present(row, "system") else []


def _present(row: _RawRow, key: str) -> bool:
    """Return whether an optional key has a value; CSV and Alpaca files write "" for none."""
    return key in row and row[key] != ""


def _reject_near_misses(row: _RawRow, form: _Form) -> None:
    """Reject a misspelled optional key, such as ``lable``: without it the row would be read as unlabeled."""
    unknown = [key for key in row if key not in KEYS]
    for key in form.optional:
        close = get_close_matches(key, unknown, n=1, cutoff=0.75)
        if key not in row and close:
            raise DataError(f"unknown key '{close[0]}'; did you mean '{key}'?")


def _unknown_form(row: _RawRow) -> str:
    """Return the message for a row whose keys match no form."""
    accepted = f"accepted are {', '.join(map(str, FORMS))}"
    if not row:
        return f"empty row; {accepted}"
    missing = [key for key in KEYS if key not in row]
    guesses = ((key, nearest(key, missing)) for key in row if key not in KEYS)
    hint = next((f"; did you mean '{guess}' for '{key}'?" for key, guess in guesses if guess), ";")
    rename = "rename the keys (data=files has data.columns for that)"
    return f"the keys {_quoted(row)} match no known form{hint} {accepted}; {rename}"


def _quoted(keys: Iterable[str]) -> str:
    names = [f"'{key}'" for key in keys]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
