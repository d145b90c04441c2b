"""Validate what Hydra composed: every problem at once, each with its place and a guess."""

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from framework.config.phases import PHASED, inherit, repeats, settle
from framework.config.problems import sentence
from framework.config.provenance import KeyPath, Places
from framework.config.schema import GROUPS, Config
from framework.core.component import TARGET
from framework.core.error_text import first_line
from framework.core.errors import ConfigError
from framework.core.suggest import nearest

Problems = dict[tuple[int | str, ...], str]
"""What is wrong with a key, by its path."""

_RAISED = re.compile(r"^\w+ raised while resolving interpolation: ")


def load(composed: DictConfig) -> Config:
    """Return the validated config.

    Raises:
        ConfigError: with one line for every problem, each naming file and line or the override.
    """
    unresolved: Problems = {}
    return validate(_plain(composed, (), unresolved), unresolved)


def validate(raw: Any, unresolved: Problems) -> Config:
    """Return the config that plain data describe.

    Args:
        raw: the whole config as dicts, lists and scalars.
        unresolved: what is known to be wrong already; these keys are absent from *raw*.

    Raises:
        ConfigError: as ``load``.
    """
    plugins = raw.get("plugins") or ()
    context = {"plugins": tuple(plugins) if isinstance(plugins, list | tuple) else ()}
    given = raw.get("phases")
    phases = given if isinstance(given, dict) else {}
    order = Places().names("phases") if phases else []
    named = {name: phase for name, phase in phases.items() if name in order}
    whole = inherit({**raw, "phases": named} if phases else raw, order)
    problems = [(path, text) for path, text in unresolved.items() if not (phases and _replaced(path, text))]
    problems += [(("phases", name), _no_phase(name, order)) for name in phases if name not in named]
    try:
        config = Config.model_validate(whole, context=context)
        if not phases and not problems:
            return config
    except ValidationError as failure:
        errors = [error for error in _told_once(failure.errors(), whole) if not _is_told(error, unresolved)]
        if phases:
            errors = [error for error in errors if not _replaced(error["loc"], error["type"])]
            known = {error["loc"] for error in errors}
            errors = [error for error in errors if not repeats(error["loc"], raw, known)]
        problems += [(error["loc"], sentence(error, Config, whole)) for error in errors]
    if problems:
        raise ConfigError(invalid(_lines(problems)))
    return Config.model_validate(settle(whole), context=context)


def _no_phase(name: str, known: list[str]) -> str:
    if guess := nearest(name, known):
        return f"no recipe names this phase; did you mean '{guess}'?"
    return (
        "no recipe names this phase, so it has no place among the others; "
        f"write it below 'phases:' where its turn is, as '{name}: {{}}'"
    )


def _is_told(error: ErrorDetails, unresolved: Problems) -> bool:
    return error["type"] == "missing" and error["loc"] in unresolved


def _replaced(path: KeyPath, problem: str) -> bool:
    """Tell whether *problem* is that the recipe's own option lacks what each phase may give for itself."""
    return len(path) > 1 and path[0] in PHASED and problem in ("missing", _required(path))


def _lines(problems: list[tuple[tuple[int | str, ...], str]]) -> list[str]:
    places = Places()
    located = [(places.of(path), path, text) for path, text in problems]
    located.sort(key=lambda entry: entry[0].order)
    lines = []
    for place, path, text in located:
        key = "" if place.names_key or not path else f" {'.'.join(map(str, path))}:"
        lines.append(f"{place.text}:{key} {text}")
    return lines


def invalid(lines: list[str]) -> str:
    """Return the one message of all problems."""
    return "\n  ".join(["Config is invalid:", *dict.fromkeys(lines)])


def _plain(node: Any, path: tuple[int | str, ...], problems: Problems) -> Any:
    """Resolve *node* to plain data, leaving out and collecting what has no value."""
    if not isinstance(node, DictConfig | ListConfig):
        return node
    keys: list[Any] = list(node.keys()) if isinstance(node, DictConfig) else list(range(len(node)))
    found: dict[Any, Any] = {}
    for key in keys:
        inner = (*path, key)
        if OmegaConf.is_missing(node, key):
            problems[inner] = _required(inner)
            continue
        try:
            value = node[key]
        except OmegaConfBaseException as error:
            problems[inner] = _RAISED.sub("", first_line(error)).strip('"')
            continue
        found[key] = _plain(value, inner, problems)
    return found if isinstance(node, DictConfig) else list(found.values())


def _required(path: KeyPath) -> str:
    if len(path) == 1 and path[0] in GROUPS:
        return f"no option is chosen; choose one with '{path[0]}=<option>'"
    return f"this key is required; give it in the recipe or as '{'.'.join(map(str, path))}=<value>'"


def _told_once(errors: list[ErrorDetails], raw: Any) -> list[ErrorDetails]:
    """Drop what only repeats an error further in, and point every other at a key of *raw*."""
    locations = [error["loc"] for error in errors]
    kept = []
    for error in errors:
        inside = (place for place in locations if len(place) > len(error["loc"]))
        if any(place[: len(error["loc"])] == error["loc"] for place in inside):
            continue
        error["loc"] = _navigable(error["loc"], raw)
        if error["type"].startswith("target_"):
            error["loc"] = (*error["loc"], TARGET)
        kept.append(error)
    paths = {error["loc"][:depth] for error in kept for depth in range(len(error["loc"]))}
    return [error for error in kept if error["loc"] not in paths]  # the rest are members of a union


def _navigable(location: tuple[int | str, ...], raw: Any) -> tuple[int | str, ...]:
    """Drop the parts of *location* that name a member of a union, and part those that join two keys."""
    path: list[int | str] = []
    for index, whole in enumerate(location):
        joined = isinstance(whole, str) and isinstance(raw, dict) and whole not in raw
        for part in str(whole).split(".") if joined else [whole]:
            inside = isinstance(raw, dict) and part in raw
            inside = inside or (isinstance(raw, list) and isinstance(part, int) and part < len(raw))
            if inside:
                raw = raw[part]
                path.append(part)
            elif index == len(location) - 1 and isinstance(raw, dict):
                path.append(part)
    return tuple(path)
