"""Rows as every later stage sees them: one canonical form for each kind of data.

It knows nothing of files, tokenizers or templates: a raw row goes in, a canonical row or the reason
why there is none comes out.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Required, TypedDict

from framework.core.errors import DataError
from framework.core.suggest import nearest


class Message(TypedDict, total=False):
    """One turn of a conversation; the assistant's may be calls of tools, with or without words."""

    role: Required[str]
    content: Required[str]
    name: str
    tool_call_id: str
    tool_calls: list[dict[str, Any]]


class Row(TypedDict, total=False):
    """A canonical row: ``messages`` (and ``tools``) for a conversation, ``text`` for a document.

    ``rejected`` is an answer that should not have been given in place of a conversation's last turn.
    A document may have a ``label`` or ``labels``, and an ``image``, the path of a file; ``tokens`` and
    ``tags`` are words with a tag each.
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


_Given = Mapping[str, Any]


@dataclass(frozen=True)
class _Form:
    """One accepted shape: the keys it needs, those it may have, and how it is read."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    read: Callable[[_Given], Row]

    def __str__(self) -> str:
        return "+".join(self.needs) + "".join(f"[+{key}]" for key in self.may)


def canonical(raw: Any) -> Row:
    r"""Turn a row as it was read into its canonical form.

    The first form whose keys are all there is taken, in the order ``messages``, ``conversations``
    (sharegpt), ``instruction``/``output`` (alpaca), ``prompt``/``completion``,
    ``prompt``/``chosen``/``rejected`` (preferences), ``tokens``/``tags``,
    ``text`` with ``label`` (one) or ``labels`` (a list of any number).
    Keys that belong to no form, such as an id, are left behind; one that is nearly an optional key
    of the form, such as ``inputs``, is refused. A null is the same as no key.

    >>> canonical({"instruction": "Add.", "input": "1 1", "output": "2"})["messages"][0]["content"]
    'Add.\n\n1 1'

    Raises:
        DataError: the row is empty, broken or of no accepted form; the message is the reason alone,
            without the file and line that only the caller knows.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"a row must be an object with keys, not {_kind(raw)}")
    given = {str(key): value for key, value in raw.items() if value is not None}
    for form in FORMS:
        if all(key in given for key in form.needs):
            _refuse_near_misses(given, form)
            return form.read(given)
    raise DataError(_no_form(given))


def _read_messages(given: _Given) -> Row:
    row = _conversation(_turns(given["messages"], "messages", "role", "content", ROLES))
    if _present(given, "tools"):
        row["tools"] = _objects(given["tools"], "tools")
    return row


def _read_sharegpt(given: _Given) -> Row:
    turns = _turns(given["conversations"], "conversations", "from", "value", SPEAKERS)
    return _conversation([*_system(given), *turns])


def _read_alpaca(given: _Given) -> Row:
    asked = _text(given["instruction"], "instruction")
    if _present(given, "input"):
        asked += "\n\n" + _text(given["input"], "input")
    answer = _text(given["output"], "output")
    return _conversation([*_system(given), _turn("user", asked), _turn("assistant", answer)])


def _read_prompt(given: _Given) -> Row:
    asked, answer = _text(given["prompt"], "prompt"), _text(given["completion"], "completion")
    return _conversation([*_system(given), _turn("user", asked), _turn("assistant", answer)])


def _read_preference(given: _Given) -> Row:
    asked: list[Message] = [_turn("user", given["prompt"])]
    if isinstance(given["prompt"], list | tuple):
        asked = _turns(given["prompt"], "prompt", "role", "content", ROLES)
    else:
        _text(given["prompt"], "prompt")
    chosen, rejected = _answer(given["chosen"], "chosen"), _answer(given["rejected"], "rejected")
    if chosen == rejected:
        raise DataError("chosen and rejected are the same, so nothing is preferred")
    row = _conversation([*_system(given), *asked, _turn("assistant", chosen)])
    row["rejected"] = rejected
    return row


def _answer(value: Any, name: str) -> str:
    """Read an answer: text, or a list that holds one turn of the assistant's."""
    if isinstance(value, list | tuple):
        turns = _turns(value, name, "role", "content", ROLES)
        if len(turns) != 1 or turns[0]["role"] != "assistant":
            raise DataError(
                f"{name} must be one turn of the assistant's; put what comes before it in 'prompt'"
            )
        return turns[0]["content"]
    return _text(value, name)


def _read_text(given: _Given) -> Row:
    row: Row = {"text": _text(given["text"], "text")}
    if "label" in given:
        label = given["label"]
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise DataError(f"label must be text or a whole number, not {_kind(label)}")
        row["label"] = _text(str(label), "label").strip()
    if "image" in given:
        row["image"] = _text(given["image"], "image")
    if "labels" in given:
        if "label" in given:
            raise DataError("a row has 'label' for its one class or 'labels' for any number, not both")
        row["labels"] = [label.strip() for label in _texts(given["labels"], "labels")]
    return row


def _read_tokens(given: _Given) -> Row:
    tokens, tags = _texts(given["tokens"], "tokens"), _texts(given["tags"], "tags")
    if not tokens:
        raise DataError("empty tokens")
    if len(tokens) != len(tags):
        raise DataError(f"{len(tokens)} tokens but {len(tags)} tags; each token needs one")
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
KEYS = tuple(dict.fromkeys(key for form in FORMS for key in (*form.needs, *form.may)))
"""Every key that a form reads; what ``columns`` may map to."""


def _turns(items: Any, key: str, who: str, what: str, roles: Mapping[str, str]) -> list[Message]:
    """Read a list of turns; *who* and *what* are the turn's two keys."""
    if not isinstance(items, list | tuple):
        raise DataError(f"{key} must be a list of turns, not {_kind(items)}")
    turns = []
    for place, turn in enumerate(items, 1):
        calls = turn.get("tool_calls") if isinstance(turn, Mapping) else None
        if not isinstance(turn, Mapping) or who not in turn or not (what in turn or calls):
            raise DataError(f"turn {place} of {key} must be an object with '{who}' and '{what}'")
        role, where = turn[who], f"turn {place} of {key}"
        if not isinstance(role, str) or role not in roles:
            raise DataError(f"{where}: '{who}' is {role!r}; it may be {', '.join(roles)}")
        if calls and roles[role] != "assistant":
            raise DataError(f"{where} has 'tool_calls', but only the assistant calls tools")
        silent = calls and not turn.get(what)
        message = _turn(roles[role], "" if silent else _text(turn[what], f"{what} in {where}"))
        if calls:
            message["tool_calls"] = _calls(calls, where)
        if isinstance(name := turn.get("name"), str):
            message["name"] = name
        if isinstance(number := turn.get("tool_call_id"), str):
            message["tool_call_id"] = number
        turns.append(message)
    return turns


def _calls(given: Any, where: str) -> list[dict[str, Any]]:
    """Read calls as OpenAI writes them; arguments become an object, which chat templates want."""
    calls = []
    for call in _objects(given, f"tool_calls in {where}"):
        function = call.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DataError(f"a call of tool_calls in {where} needs 'function' with 'name' and 'arguments'")
        arguments = function.get("arguments", {})
        try:
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            raise DataError(f"the arguments of {function['name']} in {where} are not JSON") from None
        if not isinstance(arguments, Mapping):
            raise DataError(f"the arguments of {function['name']} in {where} must be an object")
        known = {"name": function["name"], "arguments": dict(arguments)}
        calls.append({**call, "type": "function", "function": known})
    return calls


def _objects(values: Any, name: str) -> list[dict[str, Any]]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, Mapping) for value in values):
        raise DataError(f"{name} must be a list of objects")
    return [dict(value) for value in values]


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _conversation(turns: list[Message]) -> Row:
    if not turns:
        raise DataError("empty conversation")
    last = turns[-1]["role"]
    if last != "assistant":
        raise DataError(f"the last turn must be the assistant's, the answer to learn, not {last}'s")
    return {"messages": turns}


def _system(given: _Given) -> list[Message]:
    return [_turn("system", _text(given["system"], "system"))] if _present(given, "system") else []


def _present(given: _Given, key: str) -> bool:
    """Tell whether an optional key says anything: CSV and alpaca files write "" for none."""
    return key in given and given[key] != ""


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{name} must be text, not {_kind(value)}")
    if not value.strip():
        raise DataError(f"empty {name}")
    if "\0" in value:
        raise DataError(f"{name} holds a NUL character; the file may be binary or UTF-16")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{name} is not valid Unicode (half of a surrogate pair, or not UTF-8)") from None
    return value


def _texts(values: Any, name: str) -> list[str]:
    if not isinstance(values, list | tuple):
        raise DataError(f"{name} must be a list, not {_kind(values)}")
    return [_text(value, f"{name}[{place}]") for place, value in enumerate(values)]


def _kind(value: Any) -> str:
    kinds = ((bool, "a truth value"), (int | float, "a number"), (str, "text"), (Mapping, "an object"),
             (list | tuple, "a list"), (type(None), "null"))  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)


def _refuse_near_misses(given: _Given, form: _Form) -> None:
    """Refuse ``labels`` beside ``text``: it would be left behind and the row read as unlabelled."""
    for key in form.may:
        meant = get_close_matches(key, [k for k in given if k not in KEYS], n=1, cutoff=0.75)
        if key not in given and meant:
            raise DataError(f"unknown key '{meant[0]}'; did you mean '{key}'?")


def _no_form(given: _Given) -> str:
    accepted = f"accepted are {', '.join(map(str, FORMS))}"
    if not given:
        return f"empty row; {accepted}"
    missing = [key for key in KEYS if key not in given]
    guesses = ((key, nearest(key, missing)) for key in given if key not in KEYS)
    hint = next((f"; did you mean '{meant}' for '{key}'?" for key, meant in guesses if meant), ";")
    return f"the keys {_listed(given)} are no known form{hint} {accepted}; rename keys with data.columns"


def _listed(keys: Iterable[str]) -> str:
    names = [f"'{key}'" for key in keys]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
