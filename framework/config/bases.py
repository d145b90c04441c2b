"""Which recipes a recipe extends, and what they choose: from the entries of ``defaults`` as written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from framework.config.options import GROUP, option_file
from framework.config.yaml_source import read_source

KEYWORDS = ("override", "optional")
"""What may stand before a group in ``defaults``."""


def extended(name: str) -> dict[str, Path]:
    """Return the file of the recipe *name* and of all that it extends, by name."""
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        file = option_file(GROUP, name)
        if file is not None and name not in found:
            found[name] = file
            folder = name.rpartition("/")[0]
            waiting += [absolute_name(entry.value, folder) for entry in _entries(file, yaml.ScalarNode)]
    return found


def choices_of(file: Path) -> Iterator[str]:
    """Yield the choices that the recipe *file* makes without ``override``."""
    for entry in _entries(file, yaml.MappingNode):
        for key, _ in entry.value:
            if not key.value.startswith(KEYWORDS):
                yield key.value.lstrip("/")


def _entries(file: Path, kind: type[yaml.Node]) -> Iterator[Any]:
    for key, value in read_source(file).root.value:
        if key.value == "defaults" and isinstance(value, yaml.SequenceNode):
            yield from (entry for entry in value.value if isinstance(entry, kind))


def absolute_name(text: str, folder: str) -> str:
    """Return the name of the recipe that the entry *text* means in a recipe of *folder*."""
    if text.startswith("/"):
        return text[1:].removeprefix(f"{GROUP}/").removesuffix(".yaml")
    return "/".join(filter(None, (folder, text))).removesuffix(".yaml")
