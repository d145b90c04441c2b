"""Phases as plain data: what each inherits from the recipe, before anything is validated.

It knows mappings and ``_target_``; what a key means, the schema says.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from framework.config.schema import Phase
from framework.core.component import TARGET

PHASED = tuple(Phase.model_fields)
"""The groups that a phase may give otherwise."""

_Path = tuple[int | str, ...]


def inherit(raw: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    """Return *raw* in which every phase is complete, and the phases stand in *order*.

    A group without ``_target_`` changes the recipe's option key by key; one with it is an option of its
    own and inherits nothing. What is no mapping is left as it is, for validation to refuse.
    """
    phases = raw.get("phases")
    if not isinstance(phases, Mapping):
        return dict(raw)
    wanted = list(order)
    names = sorted(phases, key=lambda name: wanted.index(name) if name in wanted else len(wanted))
    return {**raw, "phases": {name: _complete(phases[name], raw) for name in names}}


def _complete(phase: Any, raw: Mapping[str, Any]) -> Any:
    if not isinstance(phase, Mapping):
        return phase
    inherited = {group: raw[group] for group in PHASED if group in raw}
    return _merge(inherited, phase)


def _merge(below: Any, above: Any) -> Any:
    if not isinstance(below, Mapping) or not isinstance(above, Mapping) or TARGET in above:
        return above
    return {**below, **{key: _merge(below.get(key), item) for key, item in above.items()}}


def settle(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return *raw*, whose phases are complete, with the last one's groups as the recipe's own."""
    *_, last = raw["phases"].values()
    return {**raw, **last}


def repeats(path: _Path, raw: Mapping[str, Any], known: Collection[_Path]) -> bool:
    """Tell whether a problem at *path* is one of the recipe's, at *known*, that a phase only inherited.

    Args:
        path: such as ``("phases", "general", "tuning", "rank")``.
        raw: the config as it was composed, before ``inherit``.
        known: where the recipe has problems.
    """
    if len(path) < 3 or path[0] != "phases" or path[2:] not in known:
        return False
    node: Any = raw
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return True
        node = node[key]
    return False
