"""Validate what Hydra composed: every problem at once, each with its file and line and a guess."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from framework.config.composer import MISSING, emptied, refers
from framework.config.composition import Composition
from framework.config.options import options
from framework.config.phases import PHASED, inherit, repeats, settle
from framework.config.problems import as_problem
from framework.config.provenance import Places
from framework.config.schema import GROUPS, Config
from framework.config.unvalidated import unvalidated
from framework.config.yaml_source import EVERYTHING, Fault
from framework.core.component import TARGET
from framework.core.error_text import first_line
from framework.core.errors import ConfigError, invalid_config
from framework.core.problem import Problem
from framework.core.suggest import nearest

Path = tuple[int | str, ...]
"""A key, such as ``("tuning", "rank")``."""
Unresolved = dict[Path, Problem]
"""Why a key has no value, by its path."""

_RAISED = re.compile(r"^\w+ raised while resolving interpolation: ")


def load(composition: Composition, faults: Sequence[Fault] = ()) -> Config:
    """Return the validated config.

    Args:
        composition: the composed config.
        faults: what is wrong with the words on the command line.

    Raises:
        ConfigError: with one line per problem, each with the file and line or the override.
    """
    raw, unresolved = resolved(composition)
    return _validated(composition, raw, unresolved, [*composition.faults(), *faults])


def resolved(composition: Composition) -> tuple[dict[str, Any], Unresolved]:
    """Return the config with its interpolations replaced, and why keys that it lacks then have no value."""
    resolving = _Resolving(emptied(composition))
    raw: dict[str, Any] = resolving.plain(resolving.config, ())
    return raw, resolving.unresolved


def _validated(composition: Composition, raw: Any, unresolved: Unresolved, faults: Sequence[Fault]) -> Config:
    """Return the config of the plain data *raw*, in which the keys *unresolved* are missing."""
    plugins = raw.get("plugins") or ()
    context = {"plugins": tuple(plugins) if isinstance(plugins, list | tuple) else ()}
    phases = raw["phases"] if isinstance(raw.get("phases"), dict) else {}
    order = Places(composition).names("phases") if phases else []
    ordered = {name: phase for name, phase in phases.items() if name in order}
    completed = inherit({**raw, "phases": ordered} if phases else raw, order)
    problems = [
        (path, problem)
        for path, problem in unresolved.items()
        if not (phases and _left_to_phases(path, problem == _required(path)))
    ]
    problems += [(("phases", name), _unordered_phase(name, order)) for name in phases if name not in ordered]
    problems += _misnamed_environment(composition, raw) + _unknown_predecessor(raw)
    try:
        config = Config.model_validate(completed, context=context)
    except ValidationError as failure:
        problems += _invalid(failure, raw, completed, unresolved)
    worse = unvalidated(completed)
    problems = [(path, problem) for path, problem in problems if not any(path[: len(w)] == w for w in worse)]
    problems += [(path, problem) for path, problem in worse.items() if not repeats(path, raw, worse)]
    if problems or faults:
        raise _located(Places(composition), problems, faults)
    return Config.model_validate(settle(completed), context=context) if phases else config


def _invalid(
    failure: ValidationError, raw: Any, completed: Any, unresolved: Unresolved
) -> list[tuple[Path, Problem]]:
    """Return the problems of *failure*, without those that repeat another."""
    errors = _deduplicate(failure.errors(), completed)
    errors = [error for error in errors if not (error["type"] == "missing" and error["loc"] in unresolved)]
    if raw.get("phases"):
        errors = [error for error in errors if not _left_to_phases(error["loc"], error["type"] == "missing")]
        of_recipe = {error["loc"] for error in errors}
        errors = [error for error in errors if not repeats(error["loc"], raw, of_recipe)]
    return [(error["loc"], as_problem(error, Config, completed)) for error in errors]


def _unordered_phase(name: str, phases: list[str]) -> Problem:
    """Return that no recipe names the phase *name*; a recipe's order of names is the order of training."""
    guess = nearest(name, phases)
    advice = f"did you mean '{guess}'?" if guess else f"add '{name}: {{}}' below 'phases:', at its position"
    return Problem(f"phases.{name}", "no recipe names this phase", advice=advice)


def _misnamed_environment(composition: Composition, raw: Any) -> list[tuple[Path, Problem]]:
    """Return that the environment is named unlike its option: its folder would be another environment's."""
    option = (composition.choices.get("environment") or "").rpartition("/")[2]
    environment = raw.get("environment")
    name = environment.get("name") if isinstance(environment, dict) else None
    if not option or not isinstance(name, str) or name == option:
        return []
    reason = f"is '{name}', so that its releases would be written to the folder of another environment"
    advice = f"give it the name of its option, '{option}', or choose the option '{name}'"
    return [(("environment", "name"), Problem("environment.name", reason, advice=advice))]


def _unknown_predecessor(raw: Any) -> list[tuple[Path, Problem]]:
    """Return that the environment before is no environment: no release could come from it."""
    path = ("environment", "promotion", "after")
    node = raw
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    known = options("environment")
    if not isinstance(node, str) or node in known:
        return []
    guess = nearest(node, known)
    advice = f"did you mean '{guess}'?" if guess else f"name one of {', '.join(known)}"
    return [(path, Problem(_dotted(path), f"'{node}' is no environment", advice=advice))]


def _left_to_phases(path: Path, missing: bool) -> bool:
    """Tell whether *path* is a key that the recipe's own option lacks, and each phase may set for itself."""
    return missing and len(path) > 1 and path[0] in PHASED


def _located(places: Places, problems: list[tuple[Path, Problem]], faults: Sequence[Fault]) -> ConfigError:
    """Return the one error of *faults* and all *problems* that do not follow from them, as written."""
    located = [(places.order(fault), fault.problem.at(fault.place), fault.problem) for fault in faults]
    for path, problem in problems:
        if not any(_follows(_dotted(path), fault.hides) for fault in faults):
            place = places.of(path)
            problem = _with_spelling(problem, place.spelled)
            located.append((place.order, problem.at(place.text, place.names_key), problem))
    located.sort(key=lambda entry: entry[0])
    # A union reports a value once for each of its members, in the same words.
    by_line = {line: problem for _, line, problem in located}
    return invalid_config([*by_line.values()], by_line)


def _follows(key: str, hidden: str) -> bool:
    return hidden == EVERYTHING or (bool(hidden) and f"{key}.".startswith(f"{hidden}."))


def _with_spelling(problem: Problem, spelled: str) -> Problem:
    """Say how YAML reads the word *spelled*, such as ``yes``; it is empty where that is no surprise."""
    if not spelled:
        return problem
    meaning = "true" if spelled.lower() in ("yes", "on") else "false"
    advice = f"YAML reads {spelled} as {meaning}: put it in quotes if it is text"
    return replace(problem, advice="; ".join(filter(None, (problem.advice, advice))))


class _Resolving:
    """Replaces the interpolations of a config, and leaves out keys that have no value."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.unresolved: Unresolved = {}

    def plain(self, value: Any, path: Path) -> Any:
        """Return *value*, the one at *path*, as plain data."""
        if isinstance(value, dict):
            inner = {key: self.plain(each, (*path, key)) for key, each in value.items()}
            return {key: each for key, each in inner.items() if (*path, key) not in self.unresolved}
        if isinstance(value, list):
            items = [self.plain(each, (*path, index)) for index, each in enumerate(value)]
            return [each for index, each in enumerate(items) if (*path, index) not in self.unresolved]
        if value == MISSING:
            self.unresolved[path] = _required(path)
        elif refers(value):
            return self._resolved(path)
        return value

    @cached_property
    def _nodes(self) -> Any:
        nodes = OmegaConf.create(self.config)
        OmegaConf.set_struct(nodes, True)
        return nodes

    def _resolved(self, path: Path) -> Any:
        node = self._nodes
        try:
            for key in path:
                node = node[key]
        except OmegaConfBaseException as error:
            reason = _RAISED.sub("", first_line(error)).strip('"')
            self.unresolved[path] = Problem(_dotted(path), reason)
            return None
        if isinstance(node, DictConfig | ListConfig):
            return self.plain(OmegaConf.to_container(node, resolve=False), path)
        return node


def _required(path: Path) -> Problem:
    key = _dotted(path)
    if len(path) == 1 and key in GROUPS:
        return Problem(key, "no option is chosen", (f"{key}=<option>",))
    return Problem(key, "this key is required", (f"{key}=<value>",))


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def _deduplicate(errors: list[ErrorDetails], raw: Any) -> list[ErrorDetails]:
    """Drop errors that repeat one of an inner key, and point the others at keys of *raw*."""
    locations = [error["loc"] for error in errors]
    kept = []
    for error in errors:
        inner = (location for location in locations if len(location) > len(error["loc"]))
        if any(location[: len(error["loc"])] == error["loc"] for location in inner):
            continue
        error["loc"] = _navigable(error["loc"], raw, error["type"] == "missing")
        if error["type"].startswith("target_"):
            error["loc"] = (*error["loc"], TARGET)
        kept.append(error)
    outer = {error["loc"][:depth] for error in kept for depth in range(len(error["loc"]))}
    return [error for error in kept if error["loc"] not in outer]  # the rest are members of a union


def _navigable(location: Path, raw: Any, missing: bool) -> Path:
    """Drop the names of a union's members from *location*, and split names that join two keys.

    The last one is the name of a *missing* key, or else of a member where *raw* has no such key.
    """
    path: list[int | str] = []
    for index, entry in enumerate(location):
        joined = isinstance(entry, str) and isinstance(raw, dict) and entry not in raw
        for key in str(entry).split(".") if joined else [entry]:
            inside = isinstance(raw, dict) and key in raw
            inside = inside or (isinstance(raw, list) and isinstance(key, int) and key < len(raw))
            if inside:
                raw = raw[key]
                path.append(key)
            elif missing and index == len(location) - 1 and isinstance(raw, dict):
                path.append(key)
    return tuple(path)
