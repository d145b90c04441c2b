"""The JSON Schema of a recipe's ``defaults``: which options and recipes it may name, and where.

What only composition can tell is left to it: whether a recipe exists, the order of the lines, and whether two
of them choose other options for one key of a phase.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from framework.config.options import recipe_names
from framework.config.owner import component_in
from framework.config.schema import BASES, SEVERAL, Phase
from framework.core.component import Component

Options = Mapping[str, Mapping[str, type[Component] | None]]
"""The class of every option, by group and name."""

_NAME = r"[^.@\s]+"
_HYDRA = "launcher|sweeper|job_logging|hydra_logging|help|hydra_help|output"
"""Hydra's own groups that have options."""


def defaults_schema(by_group: Options, roots: tuple[Path, ...]) -> dict[str, Any]:
    """Return the schema of ``defaults``, for the options *by_group* and the other groups of *roots*."""
    own = _own_groups(by_group, roots)
    one_each = [f"override /{group}" for group in by_group] + [f"/{group}" for group in own]
    lists = [{"type": "object", "required": [key]} for key in one_each] + [{"const": "_self_"}]
    names = [{"const": "_self_"}, _recipe({**by_group, **own}, roots), *_files(own)]
    return {
        "type": "array",
        "description": "Options that this recipe chooses, and recipes that it extends.",
        "items": {"anyOf": [*names, _choice(by_group, own)]},
        "uniqueItems": True,
        "allOf": [{"contains": entry, "minContains": 0, "maxContains": 1} for entry in lists],
    }


def _own_groups(by_group: Options, roots: tuple[Path, ...]) -> dict[str, set[str]]:
    """Return the options of a team's own groups, such as one of ``# @package _global_`` files.

    ``conf/base/deep/x.yaml`` is both ``deep/x`` of ``base`` and ``x`` of ``base/deep``.
    """
    own: dict[str, set[str]] = {}
    for root in roots:
        for file in (root / "conf").rglob("*.yaml"):
            *folders, name = file.relative_to(root / "conf").with_suffix("").parts
            for depth in range(1, len(folders) + 1) if {*folders[:1]} - {*by_group, "hydra"} else ():
                own.setdefault("/".join(folders[:depth]), set()).add("/".join([*folders[depth:], name]))
    return dict(sorted(own.items()))


def _files(own: Mapping[str, set[str]]) -> list[dict[str, Any]]:
    """Return the schema of a file below ``conf`` that is named like a recipe, such as ``/shared/base``."""
    files = {f"/{group}/{name}" for group, names in own.items() for name in names}
    return [{"enum": sorted(files)}] if files else []


def chooses(group: str, names: list[str]) -> dict[str, Any]:
    """Return the schema of recipes that choose one of the options *names* of *group*."""
    key = f"override /{group}"
    entry = {"type": "object", "properties": {key: {"enum": names}}, "required": [key]}
    return {"properties": {"defaults": {"type": "array", "contains": entry}}, "required": ["defaults"]}


def _recipe(by_group: Mapping[str, Collection[str]], roots: tuple[Path, ...]) -> dict[str, Any]:
    """Return the schema of a recipe's name; an option is chosen by its group, not by its path."""
    recipes = [f"/{name}" for root in roots for name in recipe_names(root / "recipes")]
    wrong = "|".join(
        f"{group}/({'|'.join(map(re.escape, options))})$"
        for group, known in by_group.items()
        if (options := sorted(name for name in known if not _ends(recipes, f"/{group}/{name}")))
    )
    name = r"[^\s@:/]+(/[^\s@:/]+)*"
    return {"type": "string", "pattern": f"^(/recipe/{name}|(?!recipe/|{wrong}){name})$"}


def _ends(paths: list[str], end: str) -> bool:
    return any(path.endswith(end) for path in paths)


def _choice(by_group: Options, own: Mapping[str, set[str]]) -> dict[str, Any]:
    """Return the schema of ``override /<group>: <option>``, and of options at other places."""
    chosen: dict[str, Any] = {}
    for group, known in by_group.items():
        one = {"enum": sorted(known)}
        most = {} if group in SEVERAL else {"maxItems": 1}
        listed = {"type": "array", "items": one, "minItems": 1, "uniqueItems": True, **most}
        chosen[f"override /{group}"] = {"anyOf": [one, listed]}
    elsewhere: dict[str, Any] = {f"^override /hydra/({_HYDRA})$": {"type": "string"}}
    for group, places in _places(by_group).items():
        pattern = f"^(override |optional )?/{group}@({'|'.join(sorted(places))})$"
        elsewhere[pattern] = {"enum": sorted(by_group[group])}
    for group, names in own.items():
        name: dict[str, Any] = {"anyOf": [{"enum": sorted(names)}, {"type": "string", "pattern": r"\$\{"}]}
        key = rf"/{re.escape(group)}(@\S+)?$"
        elsewhere[f"^(override )?{key}"] = {"anyOf": [name, {"type": "array", "items": name, "minItems": 1}]}
        elsewhere[f"^optional {key}"] = {"type": ["string", "array"]}
    return {
        "type": "object",
        "properties": chosen,
        "patternProperties": elsewhere,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _places(by_group: Options) -> dict[str, set[str]]:
    """Return, by group, a pattern of every key outside the group that holds one of its options."""
    places: dict[str, set[str]] = {group: {rf"phases\.{_NAME}\.{group}"} for group in Phase.model_fields}
    for group, known in by_group.items():
        above = ["", rf"phases\.{_NAME}\."] if group in Phase.model_fields else [""]
        for option, cls in known.items():
            own = rf"{group}\.{re.escape(option)}" if group in SEVERAL else group
            for held, key in _held(cls):
                places.setdefault(held, set()).update(rf"{prefix}{own}\.{key}" for prefix in above)
    return places


def _held(cls: type[Component] | None) -> Iterator[tuple[str, str]]:
    """Yield the group and the key of every field below *cls* that holds an option of a group."""
    for name, field in cls.model_fields.items() if cls is not None else ():
        component = component_in(field.annotation)
        if component is None:
            continue
        key = rf"{name}\.{_NAME}" if get_origin(field.annotation) is dict else name
        groups = [group for group, base in BASES.items() if issubclass(component, base)]
        if groups:
            yield groups[0], key
        else:
            yield from ((group, rf"{key}\.{inner}") for group, inner in _held(component))
