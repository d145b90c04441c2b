"""Which recipes a recipe extends, and what they choose: from the entries of ``defaults`` as written."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from framework.config.options import GROUP, option_file
from framework.config.yaml_source import read_source

KEYWORDS = ("override", "optional")
"""What may stand before a group in ``defaults``."""
_QUOTES = " '\""


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


def reached(choices: Iterable[tuple[str, str]]) -> set[Path]:
    """Return the files that a config may be merged from: those it merges, and some that others replace.

    Args:
        choices: groups, each with an option or a list of options, such as ``("compression", "[bf16,qat]")``.
    """
    waiting = ["config"]
    for group, names in choices:
        waiting += [f"{group}/{name.strip(_QUOTES)}" for name in names.strip("[]").split(",")]
    found = set()
    while waiting:
        path = waiting.pop().removesuffix(".yaml")
        group, _, name = path.rpartition("/")
        file = option_file(group, name)
        if file is not None and file not in found:
            found.add(file)
            waiting += [
                text.strip("/") if text[:1] == "/" else f"{group}/{text}".strip("/") for text in _named(file)
            ]
    return found


def _named(file: Path) -> Iterator[str]:
    """Yield what the ``defaults`` of *file* name, such as ``/data/tiny``; ``data/tiny`` is in its folder."""
    for entry in _entries(file, yaml.ScalarNode):
        yield entry.value.partition("@")[0]
    for entry in _entries(file, yaml.MappingNode):
        for key, value in entry.value:
            group = (key.value.split() or [""])[-1].partition("@")[0]
            names = value.value if isinstance(value, yaml.SequenceNode) else [value]
            yield from (f"{group}/{name.value}" for name in names if isinstance(name, yaml.ScalarNode))


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
