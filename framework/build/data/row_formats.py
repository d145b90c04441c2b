"""Canonical rows: the one form that every later stage sees, for each kind of data.

It knows no files, tokenizers or templates. It turns a raw row into a canonical row, or says why not.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from framework.build.data.plain_rows import NEGATIVES, read_retrieval, read_text, read_tokens
from framework.build.data.preference_rows import LABELS, read_label, read_pair, turns_or_text
from framework.build.data.row import Row
from framework.build.data.row_values import is_missing, kind_of, parse_json, require_text
from framework.build.data.tool_calls import read_tools
from framework.build.data.turns import TURN_KEYS, Message, read_turns, turn_of
from framework.core.errors import DataError
from framework.core.suggest import nearest

_RawRow = Mapping[str, Any]


@dataclass(frozen=True)
class _Form:
    """One accepted form: its required and optional keys, and the function that reads it.

    The function adds the keys of turns that it does not use to its second argument.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[_RawRow, set[str]], Row]

    def __str__(self) -> str:
        return "+".join(self.required) + "".join(f"[+{key}]" for key in self.optional)


def canonical(raw: Any, ignore: Collection[str] = ()) -> Row:
    r"""Return the row of ``read_row``; a key that is neither used nor in *ignore* is an error.

    >>> canonical({"instruction": "Add.", "input": "1 1", "output": "2"})["messages"][0]["content"]
    'Add.\n\n1 1'

    Raises:
        DataError: as ``read_row``, or the row has a key that is not used.
    """
    row, unused = read_row(raw, ignore)
    if rest := sorted(unused - set(ignore)):
        guess = next((f"; did you mean '{meant}'?" for key in rest if (meant := meant_by(key))), "")
        raise DataError(f"nothing reads {_quoted(rest)}{guess}; data.ignore can name what to leave out")
    return row


def read_row(raw: Any, ignore: Collection[str] = ()) -> tuple[Row, set[str]]:
    """Return a raw row's canonical form, and its keys that have a value but were not used.

    The form is the first of ``FORMS`` whose required keys are all present. A null value counts as a
    missing key. A key of a turn is named ``messages[].key``.

    Args:
        raw: the row.
        ignore: keys that are not read. They are among the unused ones, if the row has them.

    Raises:
        DataError: the row is empty, broken or has no accepted form. The message is only the reason; the
            caller knows the file and line.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"a row must be an object with keys, not {kind_of(raw)}")
    given = {str(key): value for key, value in raw.items() if value is not None}
    row = {key: value for key, value in given.items() if key not in ignore}
    for form in FORMS:
        if all(key in row for key in form.required):
            known = {*form.required, *form.optional} - set(ignore)
            unused = {key for key in given if key not in known and not is_missing(given[key])}
            kept = {key: _without(value, key, ignore, unused) for key, value in row.items()}
            return form.read(kept, unused), unused
    raise DataError(_unknown_form(row))


def _without(value: Any, path: str, ignore: Collection[str], unused: set[str]) -> Any:
    """Return the *value* of *path* without the keys below it that are in *ignore*; add them to *unused*."""
    if not any(key.startswith((f"{path}.", f"{path}[]")) for key in ignore):
        return value
    if isinstance(value, list | tuple):
        return [_without(item, f"{path}[]", ignore, unused) for item in value]
    if not isinstance(value, Mapping):
        return value
    names = {key: f"{path}.{key}" for key in value}
    unused.update(name for key, name in names.items() if name in ignore and not is_missing(value[key]))
    return {
        key: _without(item, names[key], ignore, unused)
        for key, item in value.items()
        if names[key] not in ignore
    }


def _read_turns(raw: _RawRow, unused: set[str]) -> Row:
    key = "messages" if "messages" in raw else "conversations"
    turns = read_turns(raw[key], key, unused)
    if is_missing(raw.get("chosen")) and is_missing(raw.get("rejected")):
        return _answered(raw, turns)
    unused.update(key for key in LABELS if not is_missing(raw.get(key)))  # of which answer?
    return _preference(raw, turns, unused)


def _read_instruction(raw: _RawRow, unused: set[str]) -> Row:
    question = require_text(raw["instruction"], "instruction")
    contexts = [key for key in ("input", "context") if not is_missing(raw.get(key))]
    if len(contexts) > 1:
        raise DataError(
            "both 'input' and 'context'; the text that a question is about has one of these names"
        )
    question = "\n\n".join([question, *(require_text(raw[key], key) for key in contexts)])
    asked = [*_history(raw), turn_of("user", question)]
    answer = next((key for key in ("output", "response") if key in raw), None)
    if answer is None:
        _require_answers(raw)
        return _preference(raw, asked, unused)
    return _answered(raw, [*asked, turn_of("assistant", require_text(raw[answer], answer))])


def _history(raw: _RawRow) -> list[Message]:
    """Return LLaMA-Factory's ``history``, pairs of a question and its answer, as turns."""
    pairs = raw.get("history")
    pairs = parse_json(pairs, "history") if isinstance(pairs, str) and pairs.strip() else pairs or []
    if not isinstance(pairs, list | tuple):
        raise DataError(f"history must be a list of [question, answer], not {kind_of(pairs)}")
    turns = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"history: item {number} must be [question, answer]")
        turns += [
            turn_of(role, require_text(text, f"the {role}'s turn in item {number} of history"))
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    return turns


def _read_prompt(raw: _RawRow, unused: set[str]) -> Row:
    asked = turns_or_text(raw["prompt"], "prompt", "user", unused)
    for turn in asked:
        if turn["role"] == "assistant":  # what is learned is the completion
            turn["train"] = False
    return _answered(raw, [*asked, *turns_or_text(raw["completion"], "completion", "assistant", unused)])


def _read_preference(raw: _RawRow, unused: set[str]) -> Row:
    _require_answers(raw)
    has_prompt = not is_missing(raw.get("prompt"))
    asked = turns_or_text(raw["prompt"], "prompt", "user", unused) if has_prompt else []
    return _preference(raw, asked, unused)


def _require_answers(raw: _RawRow) -> None:
    for key in _PAIR:
        if is_missing(raw[key]):
            raise DataError(f"empty {key}; a preference needs both answers")


def _preference(raw: _RawRow, asked: list[Message], unused: set[str]) -> Row:
    turns, rejected = read_pair(raw, asked, unused)
    row = _conversation(raw, turns)
    row["rejected"] = rejected
    return row


def _answered(raw: _RawRow, turns: list[Message]) -> Row:
    """Return the row of *turns*, with the label of its last answer if there is one."""
    row, desirable = _conversation(raw, turns), read_label(raw, turns)
    if desirable is not None:
        row["desirable"] = desirable
    return row


def _conversation(raw: _RawRow, turns: list[Message]) -> Row:
    """Return the row of *turns*, with the row's ``system`` and ``tools``."""
    if not turns:
        raise DataError("empty conversation")
    if (last := turns[-1]["role"]) != "assistant":
        raise DataError(
            f"the last turn must be the assistant's, which is the answer to learn, not the {last}'s"
        )
    if all(turn["role"] != "assistant" or "train" in turn for turn in turns):
        raise DataError("no turn is learned: each of the assistant's has weight 0 or train false")
    given: Any = raw.get("system")
    if not is_missing(given) and require_text(given, "system", blank=True).strip():
        system = turn_of("system", given)
        if turns[0]["role"] == "system" and turns[0] != system:
            raise DataError("the key 'system' and the first turn are two different system prompts; keep one")
        turns = turns if turns[0] == system else [system, *turns]
    row: Row = {"messages": turns}
    if not is_missing(raw.get("tools")) and (tools := read_tools(raw["tools"], "tools")):
        row["tools"] = tools
    return row


_CHAT = ("system", "tools")
_JUDGED = (*_CHAT, *LABELS)
_PAIR = ("chosen", "rejected")
_ASKED = ("input", "context", "history")
FORMS = (
    _Form(("messages",), (*_PAIR, *_JUDGED), _read_turns),
    _Form(("conversations",), (*_PAIR, *_JUDGED), _read_turns),
    _Form(("instruction", "output"), (*_ASKED, *_JUDGED), _read_instruction),
    _Form(("instruction", "response"), (*_ASKED, *_JUDGED), _read_instruction),
    _Form(("instruction", *_PAIR), (*_ASKED, *_CHAT), _read_instruction),
    _Form(("prompt", "completion"), _JUDGED, _read_prompt),
    _Form(_PAIR, ("prompt", *_CHAT), _read_preference),
    _Form(("tokens", "tags"), (), read_tokens),
    _Form(("query", "passage"), NEGATIVES, read_retrieval),
    _Form(("query", "positive"), NEGATIVES, read_retrieval),
    _Form(("anchor", "positive"), NEGATIVES, read_retrieval),
    _Form(("text",), ("label", "labels", "image"), read_text),
)
"""The accepted forms, in the order in which they are tried."""
KEYS = tuple(dict.fromkeys(key for form in FORMS for key in (*form.required, *form.optional)))
"""Every key of any form: what ``columns`` may map to."""


def meant_by(key: str) -> str | None:
    """Return the key that an unused *key*, of a row or a turn, was probably meant to be.

    >>> meant_by("inputs"), meant_by("messages[].wieght"), meant_by("id"), meant_by("label")
    ('input', 'weight', None, None)
    """
    path, _, name = key.rpartition(".")
    known = TURN_KEYS if path else KEYS
    if name in known:  # another form reads it
        return None
    close = get_close_matches(name, known, n=1, cutoff=0.75)
    return close[0] if close else None


def _unknown_form(row: _RawRow) -> str:
    """Return the message for a row whose keys match no form."""
    accepted = f"accepted are {', '.join(map(str, FORMS))}"
    if not row:
        return f"empty row; {accepted}"
    missing = [key for key in KEYS if key not in row]
    guesses = ((key, nearest(key, missing)) for key in row if key not in KEYS)
    hint = next((f"; did you mean '{guess}' for '{key}'?" for key, guess in guesses if guess), "")
    rename = "rename the keys (data=files has data.columns for that)"
    return f"the keys {_quoted(row)} match no known form{hint}; {accepted}; {rename}"


def _quoted(keys: Iterable[str]) -> str:
    names = [f"'{key}'" for key in keys]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
