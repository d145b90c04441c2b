"""What to write instead of a key of another tool, or of another option of the same group.

It is imported to explain an unknown key only: a valid config never reads its tables.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from framework.config.jsonschema import option_classes
from framework.config.owner import choices, field, owner
from framework.config.schema import GROUPS, SEVERAL, Config
from framework.core.component import Component
from framework.core.paths import SHARE

Answer = str | Mapping[str, str]
"""What a key is here, or what it is for each of its values; patterns, of which the first match counts."""
KeyPath = Sequence[int | str]

_WORD = re.compile(r"([^\s,]+)(.*)", re.DOTALL)


@cache
def answers() -> dict[str, Answer]:
    """Return the answer to every key of another tool, or to a pattern of such keys."""
    advice = _read("peer_advice.yaml")
    found: dict[str, Answer] = {}
    for answer, keys in [*_read("peer_keys.yaml").items(), *advice["none"].items()]:
        found |= dict.fromkeys(keys.split(), answer)
    for entry in advice["by_value"]:
        by_value = {str(pattern): answer for pattern, answer in entry.items() if pattern != "keys"}
        found |= dict.fromkeys(entry["keys"].split(), by_value)
    return found


def split_answer(answer: str) -> tuple[str, str]:
    """Return our key or choice at the start of *answer* and the rest; the first is empty in a sentence.

    >>> split_answer("tuning.rank")
    ('tuning.rank', '')
    >>> split_answer("seed, which also orders the rows")
    ('seed', ', which also orders the rows')
    >>> split_answer("remove it, every step is logged")
    ('', 'remove it, every step is logged')
    """
    match = _WORD.fullmatch(answer)
    word, rest = match.groups() if match else ("", answer)
    known = "." in word or "=" in word or (word in Config.model_fields and not rest.startswith(" "))
    return (word, rest) if known else ("", answer)


def translated(key: str, value: Any) -> str | None:
    """Return our value of *key* for the *value* of another tool, or None if it has none."""
    values: Mapping[str, str] = _read("peer_advice.yaml")["values"].get(key, {})
    ours: str | None = _first(values, _as_text(value))
    return ours


class Peers:
    """Explains unknown keys of one config."""

    def __init__(self, root: type[Component], raw: Any) -> None:
        self.root, self.raw = root, raw

    def exact(self, path: KeyPath, value: Any) -> str:
        """Return what to write instead of *value* at *path*, empty if no tool or option has the key."""
        if found := self._of_another_option(path):
            return found
        if isinstance(value, Mapping) and (inner := list(dict.fromkeys(self._below(path, value)))):
            return f"use {', '.join(inner)}"
        return self._in_words(path, value, _answer(path, value))

    def similar(self, path: KeyPath, value: Any) -> str:
        """Return the same for a key that a pattern of the tables matches, such as ``galore_*``."""
        patterns = {name: answer for name, answer in answers().items() if "*" in name}
        return self._in_words(path, value, _for_value(_first(patterns, str(path[-1])), value))

    def _of_another_option(self, path: KeyPath) -> str:
        """Return which options of the group have the key at *path*."""
        position = _group_position(path)
        group = str(path[position]) if position is not None else ""
        if position is None or group in SEVERAL:
            return ""
        names = _options_with(group, ".".join(map(str, path[position + 1 :])))
        return f"it is a key of {group}={_listed(names)}" if names else ""

    def _below(self, path: KeyPath, value: Mapping[str, Any]) -> Iterator[str]:
        """Yield ours for each key below the unknown mapping at *path*."""
        for key, item in value.items():
            inner = (*path, key)
            if isinstance(item, Mapping):
                yield from self._below(inner, item)
            elif (answer := _answer(inner, item)) and split_answer(answer)[0]:
                words = self._in_words(inner, item, answer).removeprefix("use ")
                yield f"{words.split(', ')[0]} for '{key}'"

    def _in_words(self, path: KeyPath, value: Any, answer: str | None) -> str:
        """Return *answer* as advice, with the value and the option that it needs here."""
        ours, rest = split_answer(answer or "")
        if not ours:
            return rest
        key, assigned, choice = ours.partition("=")
        prefix = self._prefix(path, key)
        if assigned and prefix and key in GROUPS:
            return f"use '- /{key}@{'.'.join([*prefix, key])}: {choice}' in 'defaults'{rest}"
        accepted, needed = self._accepted(prefix, key)
        among = ""
        if not assigned:
            ours, among = _with_value(key, value, choices(accepted.annotation) if accepted else [])
        return f"use '{'.'.join([*prefix, ours])}'{needed}{among}{rest}"

    def _accepted(self, prefix: list[str], key: str) -> tuple[FieldInfo | None, str]:
        """Return the field of *key* below *prefix*, and the option that has it if the chosen one has not."""
        group, _, name = key.partition(".")
        if not name:
            return field(self.root, key), ""
        if group in SEVERAL:
            option, _, name = name.partition(".")
            found = field(owner(self.root, self.raw, (*prefix, group, option)), name)
            return found, "" if found else f" with {group}={option}"
        found = field(owner(self.root, self.raw, (*prefix, group)), name)
        names = [] if found else _options_with(group, name)
        return found, f" with {group}={_listed(names)}" if names else ""

    def _prefix(self, path: KeyPath, key: str) -> list[str]:
        """Return where our *key* belongs if the one at *path* is in a phase or an option's own training."""
        group = re.split(r"[.=]", key)[0]
        above = [str(entry) for entry in path[:-1]]
        inner = [above[:position] for position, entry in enumerate(above) if entry == group]
        phase = [above[:2]] if above[:1] == ["phases"] and len(above) > 1 else []
        for prefix in [*reversed(inner), *phase]:
            if field(owner(self.root, self.raw, prefix), group):  # not in an unknown mapping
                return prefix
        return []


def _listed(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _with_value(key: str, value: Any, accepted: list[Any]) -> tuple[str, str]:
    """Return *key* with our word for *value*, or the *accepted* values where it has none."""
    ours = translated(key, value)
    if ours is not None and ours != _as_text(value):
        return f"{key}={ours}", ""
    known = not accepted or bool in map(type, accepted) or _as_text(value) in map(_as_text, accepted)
    return key, "" if known else f", one of {', '.join(map(str, accepted))}"


def _answer(path: KeyPath, value: Any) -> str | None:
    key = str(path[-1])
    found = answers().get(f"{path[-2]}.{key}") if len(path) > 1 else None
    found = found or answers().get(key)
    ours = split_answer(found)[0] if isinstance(found, str) else ""
    if "=" in ours and _as_text(value) in ("false", "none", "no"):
        return f"remove it, '{ours}' is for another value"
    return _for_value(found, value)


def _for_value(answer: Answer | None, value: Any) -> str | None:
    return _first(answer, _as_text(value)) if isinstance(answer, Mapping) else answer


def _first(patterns: Mapping[str, Any], word: str) -> Any:
    return next((found for pattern, found in patterns.items() if fnmatchcase(word, pattern)), None)


def _as_text(value: Any) -> str:
    return "none" if value is None else str(value).lower()


def _group_position(path: KeyPath) -> int | None:
    """Return the position of the innermost group above the key at *path*, or None at the top."""
    return max((index for index, key in enumerate(path[:-1]) if key in GROUPS), default=None)


def _options_with(group: str, dotted: str) -> list[str]:
    """Return the options of *group* that have the key *dotted*: only the default one if it has it."""
    if group not in GROUPS or group in SEVERAL:
        return []
    names = [name for name, cls in _classes(group, Path.cwd()).items() if field(cls, dotted)]
    default = _default(group)
    return [default] if default in names else names


@cache
def _classes(group: str, folder: Path) -> dict[str, type[Component] | None]:
    return option_classes(group, tuple(dict.fromkeys([folder.resolve(), SHARE.resolve()])))


@cache
def _default(group: str) -> str:
    entries = yaml.safe_load((SHARE / "conf" / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return str(next((entry[group] for entry in entries if isinstance(entry, dict) and group in entry), ""))


@cache
def _read(name: str) -> dict[str, Any]:
    tables: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    return tables
