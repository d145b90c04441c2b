"""Where a key was written: an override on the command line, or the last file and line that set it.

It reads the YAML files again for the lines, and does not know what a key means.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from framework.config.composition import Composition
from framework.config.options import relative
from framework.config.yaml_source import Fault, read_source

KeyPath = Sequence[int | str]
_COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Place:
    """Where a key was written."""

    text: str
    """Such as ``recipes/x.yaml:7`` or ``command line 'tuning.rank=0'``."""
    names_key: bool
    """Whether the text names the key already."""
    order: tuple[int, int]
    """Sorts places by merge order, then by line."""
    spelled: str = ""
    """The value as written, if it is a word such as ``yes`` that YAML reads as a boolean."""

    @property
    def typed(self) -> bool:
        """Whether it is on the command line."""
        return self.text.startswith(_COMMAND_LINE)


class Places:
    """The places of all keys of one config."""

    def __init__(self, composition: Composition) -> None:
        # A choice of an option writes no key: the option's file does.
        choices = composition.choices
        self._overrides = [
            text for text in composition.words if _key(text).partition("@")[0] not in choices or "={" in text
        ]
        self._files = [(package, file.path) for package, file in composition.files]
        self._placed = {
            package: (file, line) for _, file in self._files for package, line in _placed_by(file)
        }

    def of(self, path: KeyPath) -> Place:
        """Return the place of the key at *path*, or of the closest key above it that was written."""
        best, place = 0, Place("config", False, (0, 0))
        for number, (package, file) in enumerate(self._files):
            if tuple(map(str, path[: len(package)])) != package[: len(path)]:
                continue
            depth_in_file, line, node = self._look(file, path[len(package) :])
            depth = min(len(package), len(path)) + depth_in_file
            if depth and depth >= best and len(path) <= len(package) and package in self._placed:
                entry, line = self._placed[package]
                best, place = depth, Place(f"{relative(entry)}:{line}", False, (number, line))
            elif depth and depth >= best:
                spelled = _spelled(node) if depth == len(path) else ""
                best, place = depth, Place(f"{relative(file)}:{line}", False, (number, line), spelled)
        dotted = ".".join(map(str, path))
        for number, override in enumerate(self._overrides):
            key = _key(override)
            depth = len(path) if _is_above(key, dotted) or _is_above(dotted, key) else 0
            if depth and depth >= best:
                text = f"{_COMMAND_LINE} '{override.lstrip('+')}'"
                best, place = depth, Place(text, _is_above(dotted, key), (len(self._files) + number, 0))
        return place

    def order(self, fault: Fault) -> tuple[int, int]:
        """Return what sorts *fault* among places; words on the command line come last."""
        files = [file for _, file in self._files]
        if fault.word:
            return len(files), 0
        return files.index(fault.file) if fault.file in files else 0, fault.line

    def names(self, key: str) -> list[str]:
        """Return the names below the top-level *key*, in the order in which recipes write them.

        Options that ``defaults`` place below *key* do not count: Hydra merges them before the recipe's own
        keys. Overrides do not count either: a new name there is most likely a typo.
        """
        names: dict[str, None] = {}
        for package, file in self._files:
            root = None if package else self._node(file)
            pairs = root.value if isinstance(root, yaml.MappingNode) else []
            below = next((node for name, node in pairs if name.value == key), None)
            if isinstance(below, yaml.MappingNode):
                names |= dict.fromkeys(name.value for name, _ in below.value)
        return list(names)

    def _node(self, file: Path) -> yaml.Node:
        return read_source(file).root

    def _look(self, file: Path, path: KeyPath) -> tuple[int, int, yaml.Node]:
        """Return how many keys of *path* are in *file*, and the line and value of the last of them."""
        node, line = self._node(file), 1
        for depth, key in enumerate(path):
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
                if pair is None:
                    return depth, line, node
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                line = node.start_mark.line + 1
            elif isinstance(node, yaml.ScalarNode) and depth:
                return len(path), line, node  # one value in place of a mapping
            else:
                return depth, line, node
        return len(path), line, node


def _placed_by(file: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the place, and the line, of each ``/group@place: option`` in the ``defaults`` of *file*."""
    entries = (value.value for key, value in read_source(file).root.value if key.value == "defaults")
    for entry in (entry for each in entries if isinstance(each, list) for entry in each):
        for key, _ in entry.value if isinstance(entry, yaml.MappingNode) else ():
            package = key.value.partition("@")[2].removeprefix("_global_.")
            if package:
                yield tuple(package.split(".")), key.start_mark.line + 1


def _spelled(node: yaml.Node) -> str:
    surprising = node.tag.endswith(":bool") and node.value.lower() not in ("true", "false")
    return node.value if surprising else ""


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _is_above(key: str, other: str) -> bool:
    return other == key or other.startswith(f"{key}.")
