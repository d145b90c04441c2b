"""What pydantic takes, or words badly: booleans for numbers, keys below a wrong name, percentages."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from framework.config.owner import owner
from framework.config.schema import SEVERAL, Config
from framework.core.component import TARGET
from framework.core.metric_range import metric_range
from framework.core.problem import Problem
from framework.core.suggest import nearest

_Path = tuple[int | str, ...]
_LEAST_PERCENT = 2
"""Below it, a bound of a share is no percentage that anybody asks for; the plan warns of it."""


def unvalidated(raw: Any) -> dict[_Path, Problem]:
    """Return the problems of *raw*, the whole config as plain data, by path.

    Call it after validation, which imports the classes of all options.
    """
    problems = {**_wrong_names(raw), **_booleans_for_numbers(raw)}
    environment = raw.get("environment")
    for path, gates in (("gates",), raw.get("gates")), (("environment", "gates"), _get(environment, "gates")):
        problems |= {path: problem for path, problem in _percentages(gates, path) if path not in problems}
    return problems


def _get(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None


def _percentages(node: Any, path: _Path) -> Iterator[tuple[_Path, Problem]]:
    """Yield a problem for each bound of a share, the metric above it, that is written as a percentage."""
    is_share = metric_range(str(path[-1]).rpartition(".")[2]) == (0, 1)
    for key, value in node.items() if isinstance(node, Mapping) else ():
        inner = (*path, str(key))
        if key not in ("min", "max"):
            yield from _percentages(value, inner)
        elif is_share and isinstance(value, int | float) and _LEAST_PERCENT <= value <= 100:
            dotted = ".".join(map(str, inner))
            override = f"{dotted}={value / 100:g}"
            yield inner, Problem(dotted, f"the metric is from 0 to 1, got {value:g}", (override,))


def _wrong_names(raw: Any) -> dict[_Path, Problem]:
    """Return a problem for each mapping of a group with several options that is below none of their names."""
    problems: dict[_Path, Problem] = {}
    for group in SEVERAL:
        options = raw.get(group)
        names = options.items() if isinstance(options, Mapping) else ()
        mappings = {name: option for name, option in names if isinstance(option, Mapping)}
        chosen = [name for name, option in mappings.items() if TARGET in option]
        for name, option in mappings.items() if chosen else ():
            if TARGET not in option:
                reason = f"{group} has no option '{name}'"
                guess = nearest(str(name), chosen)
                advice = f"did you mean '{guess}'?" if guess else f"choose one of {', '.join(chosen)}"
                problems[group, name] = Problem(f"{group}.{name}", reason, advice=advice)
    return problems


def _booleans_for_numbers(raw: Any) -> dict[_Path, Problem]:
    """Return a problem for each boolean whose field takes numbers and no booleans.

    Pydantic takes True as 1, and YAML reads ``yes`` and ``on`` as True.
    """
    problems = {}
    for path, value in _booleans(raw, ()):
        kinds = _kinds(raw, path)
        if kinds & {int, float} and not kinds & {bool, Any}:
            reason = f"should be a number, got {str(value).lower()}"
            problems[path] = Problem(".".join(map(str, path)), reason)
    return problems


def _booleans(node: Any, path: _Path) -> Iterator[tuple[_Path, bool]]:
    if isinstance(node, bool):
        yield path, node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _booleans(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _booleans(value, (*path, index))


def _kinds(raw: Any, path: _Path) -> set[Any]:
    """Return the types that the field at *path*, or around it, is declared with."""
    for depth in range(len(path) - 1, -1, -1):
        component = owner(Config, raw, path[:depth])
        if component is not None:
            field = component.model_fields.get(str(path[depth]))
            return _flat(field.annotation) if field else set()
    return set()


def _flat(annotation: Any) -> set[Any]:
    arguments = get_args(annotation)
    return {annotation}.union(*map(_flat, arguments)) if arguments else {annotation}
