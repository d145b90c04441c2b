"""Phases as plain data: what each inherits from the recipe, before validation.

It knows mappings and ``_target_``, not the meaning of a key.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from framework.config.schema import Phase
from framework.core.component import TARGET

PHASED = tuple(Phase.model_fields)
"""The groups that a phase may change."""

_Path = tuple[int | str, ...]


def inherit(raw: Mapping[str, Any], order: Iterable[str]) -> dict[str, Any]:
    """Return *raw* with complete phases, sorted as in *order*.

    A group without ``_target_`` changes the recipe's option key by key; one with it is another option and
    inherits nothing. Anything but a mapping is left for validation to reject.
    """
    phases = raw.get("phases")
    if not isinstance(phases, Mapping):
        return dict(raw)
    positions = {name: position for position, name in enumerate(order)}
    names = sorted(phases, key=lambda name: positions.get(name, len(positions)))
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
    """Return *raw*, whose phases are complete, with the groups of the last one as the recipe's own."""
    *_, last = raw["phases"].values()
    return {**raw, **last}


def repeats(path: _Path, raw: Mapping[str, Any], known: Collection[_Path]) -> bool:
    """Tell whether the problem at *path* is inherited from the recipe, which has it at *known*.

    Args:
        path: such as ``("phases", "general", "tuning", "rank")``.
        raw: the composed config, before ``inherit``.
        known: the paths of the recipe's problems.
    """
    if len(path) < 3 or path[0] != "phases" or path[2:] not in known:
        return False
    node: Any = raw
    for key in path:
        if not isinstance(node, Mapping) or key not in node:
            return True
        node = node[key]
    return False
