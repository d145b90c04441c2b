"""Pydantic's validation errors as problems: what is wrong with a key, and what was probably meant.

It does not know where the key was written; that is ``framework.config.provenance``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import ErrorDetails

from framework.config.owner import field, in_words, members, owner
from framework.core.component import Component
from framework.core.problem import Problem
from framework.core.suggest import nearest

_LONGEST = 60
_TYPO = 0.8
"""How alike two words are if one is a typo of the other."""
_OF_TYPE = re.compile("_type$|_parsing$|_from_float$|^literal_error$|^too_short$|^greater_than|^less_than")
"""Pydantic's own errors, rather than those that our validators raise."""
_PASSWORD = re.compile(r"(://[^/@:]*):[^/@]*@")


def as_problem(error: ErrorDetails, root: type[Component], raw: Any) -> Problem:
    """Return what is wrong with the key at ``error['loc']``, and how to fix it.

    Args:
        error: one of pydantic's errors.
        root: the class that validated *raw*.
        raw: the whole config as plain data.
    """
    key = ".".join(map(str, error["loc"]))
    return replace(_problem(error, root, raw), key=key)


def _problem(error: ErrorDetails, root: type[Component], raw: Any) -> Problem:
    kind, key, value = error["type"], str(error["loc"][-1]) if error["loc"] else "", error["input"]
    if kind == "extra_forbidden":
        return Problem("", "unknown key", advice=_right_key(error["loc"], value, root, raw))
    if kind == "no_option" or (kind == "missing" and len(error["loc"]) == 1):
        replaced = value is not None and not isinstance(value, Mapping)
        reason = f"should be a mapping, got {_as_typed(value)}" if replaced else "no option is chosen"
        path = ".".join(map(str, error["loc"]))
        choice = f"{key}=<option>" if path == key else f"{key}@{path}=<option>"
        return Problem("", reason, (choice,))
    if kind == "missing":
        return Problem("", "this key is required")
    if _OF_TYPE.search(kind) and (accepted := _union(error["loc"], root, raw)):
        return Problem("", f"should be {accepted}, got {_as_typed(value)}", advice=_right_value(error))
    if kind in ("dict_type", "model_type"):
        component = owner(root, raw, error["loc"]) if kind == "model_type" else None
        keys = f" with the keys {', '.join(component.model_fields)}" if component else ""
        return Problem("", f"should be a mapping{keys}, got {_as_typed(value)}")
    if kind == "too_short":
        return Problem("", f"should have at least {error['ctx']['min_length']} items, got {_as_typed(value)}")
    message = error["msg"].removeprefix("Input ").removeprefix("String ").replace("valid tuple", "list")
    if kind.startswith("target_") or isinstance(value, Mapping):
        return Problem("", message)
    return Problem("", f"{message}, got {_as_typed(value)}", advice=_right_value(error))


def _right_key(path: Sequence[int | str], value: Any, root: type[Component], raw: Any) -> str:
    """Return the advice for an unknown key at *path*."""
    from framework.config.peers import Peers

    key, component = str(path[-1]), owner(root, raw, path[:-1])
    keys = [*component.model_fields] if component else []
    peers = Peers(root, raw)
    elsewhere = [] if isinstance(value, Mapping) else _elsewhere(path, root, raw)
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    typo = nearest(key, keys, _TYPO)
    if not (typo and isinstance(value, Mapping)) and (instead := peers.exact(path, value)):
        return instead
    if not typo and (instead := peers.similar(path, value)):
        return instead
    if guess := typo or nearest(key, keys):
        return f"did you mean '{guess}'?"
    if component is not None and not keys:
        return f"remove it, {component.__name__} has no keys"
    return f"choose one of {', '.join(keys)}" if keys else ""


def _union(path: Sequence[int | str], root: type[Component], raw: Any) -> str:
    """Return in words what the union at *path* accepts, empty if the key has a single type.

    Pydantic reports each member of a union as a problem of its own; with this they say the same.
    """
    found = field(owner(root, raw, path[:-1]), str(path[-1])) if path else None
    return " or ".join(map(in_words, members(found.annotation))) if found else ""


def _elsewhere(path: Sequence[int | str], root: type[Component], raw: Any) -> list[str]:
    """Return the keys of other groups that end like *path*, such as ``'training.epochs'``."""
    if not isinstance(raw, Mapping):
        return []
    key = str(path[-1])
    others = [group for group in root.model_fields if group in raw and group not in path]
    owners = {group: owner(root, raw, (group,)) for group in others}
    plain = key in root.model_fields and not isinstance(raw.get(key, {}), Mapping)
    top = [f"'{key}'"] if len(path) > 1 and plain else []
    return top + [f"'{group}.{key}'" for group, cls in owners.items() if cls and key in cls.model_fields]


def _right_value(error: ErrorDetails) -> str:
    if error["type"] != "literal_error":
        return ""
    from framework.config.peers import translated

    expected = str(error.get("ctx", {}).get("expected", ""))
    choices = [word.strip("' ") for word in expected.replace(" or ", ",").split(",") if word.strip()]
    guess = translated(".".join(map(str, error["loc"][-2:])), error["input"])
    if guess not in choices:
        guess = nearest(str(error["input"]), choices)
    return f"did you mean '{guess}'?" if guess else ""


def _as_typed(value: Any) -> str:
    """Return *value* as it was typed, without a password and not too long."""
    text = _PASSWORD.sub(r"\1:***@", repr(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
