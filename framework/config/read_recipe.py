"""The file of a recipe: what Hydra gets of it, and its faults."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework.config.bases import extended
from framework.config.defaults import Defaults
from framework.config.options import GROUP, is_group, option_file, relative
from framework.config.yaml_source import EVERYTHING, Fault, read_source
from framework.core.errors import invalid_config
from framework.core.paths import SHARE
from framework.core.problem import Problem

_LISTS = re.compile(r"^recipes:", re.MULTILINE)


def listed(name: str) -> list[str]:
    """Return the recipes that the file of *name* lists under ``recipes``; none if it is a recipe itself.

    Such a file has no other key. It names recipes that are built, or compared, together.

    Raises:
        ConfigError: it has other keys, or ``recipes`` is not a list of names.
    """
    file = option_file(GROUP, name)
    if file is None or not lists_recipes(file):
        return []
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        return []  # unreadable; composing it as a recipe reports the line
    names = content.get("recipes")
    if set(content) != {"recipes"} or not isinstance(names, list) or not names:
        reason = "must be the only key of its file, and a list of recipes"
        problem = Problem("recipes", reason, advice="set other keys in those recipes or on the command line")
        raise invalid_config([problem], [problem.at(f"{relative(file)}:1")])
    return [str(name) for name in names]


def lists_recipes(file: Path) -> bool:
    """Tell whether *file* lists recipes instead of being one."""
    return _LISTS.search(file.read_text(encoding="utf-8", errors="replace")) is not None


@dataclass(frozen=True)
class Recipe:
    """One recipe as Hydra gets it: without what cannot be composed."""

    content: dict[str, Any]
    faults: tuple[Fault, ...]
    """Of this file alone."""


def read_recipe(file: Path, name: str) -> Recipe:
    """Return the recipe *name* in *file*.

    Raises:
        OSError: the file cannot be read.
    """
    source = read_source(file)
    content = source.content()
    faults = [*source.faults]
    if not source.root.value and not faults:
        problem = Problem("", "is empty", advice="write its keys, such as name, or delete the file")
        faults.append(Fault(file, 1, problem, EVERYTHING))
    defaults = Defaults(file, name.rpartition("/")[0])
    for key, value in source.root.value:
        if key.value == "defaults":
            defaults.check(value)
            content["defaults"] = defaults.entries
        elif key.value in content and (wrong := _wrong_kind(key.value, value)):
            del content[key.value]  # OmegaConf cannot merge it
            faults.append(Fault(file, key.start_mark.line + 1, wrong, key.value))
    return Recipe(content, (*faults, *defaults.faults))


def _wrong_kind(key: str, value: yaml.Node) -> Problem | None:
    """Return that *key* has a list in place of a mapping, or the reverse."""
    group = is_group(key)
    top = {known.value: node for known, node in read_source(SHARE / "conf" / "config.yaml").root.value}
    wanted = yaml.MappingNode if group else type(top.get(key))
    if wanted is yaml.MappingNode and isinstance(value, yaml.SequenceNode):
        return Problem(key, "should be a mapping, got a list", (f"{key}=<option>",) if group else ())
    if wanted is yaml.SequenceNode and isinstance(value, yaml.MappingNode):
        return Problem(key, "should be a list, got a mapping")
    return None


def recipe_faults(name: str) -> list[Fault]:
    """Return the faults of the recipe *name* and of those that it extends."""
    return [fault for base, file in extended(name).items() for fault in read_recipe(file, base).faults]
