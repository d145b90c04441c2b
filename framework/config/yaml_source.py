"""One YAML file of a config, read with its lines: what YAML or OmegaConf would misread is a fault.

Content that OmegaConf cannot hold is left out, so that the rest still composes and its problems are reported
together with the faults. This module does not know what a key means.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import GrammarParseError
from omegaconf.grammar_parser import parse

from framework.config.options import relative
from framework.core.problem import Problem

EVERYTHING = "*"

_DEEPEST = 50
"""Levels below which OmegaConf's recursion fails are more than 100; no config is a tenth as deep."""
_LARGEST = 20_000
"""Nodes of a file with all aliases expanded."""
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_PREFIX = "tag:yaml.org,2002:"
_LOADER = get_yaml_loader()
_EMPTY = yaml.MappingNode(f"{_PREFIX}map", [])


@dataclass(frozen=True)
class Fault:
    """A problem of a file or of a word on the command line, and where."""

    file: Path
    line: int
    problem: Problem
    hides: str = ""
    """The dotted key below which further problems follow from this one; ``EVERYTHING`` for all."""
    word: str = ""
    """The word, for a problem of none of the files."""

    @property
    def place(self) -> str:
        """Such as ``recipes/x.yaml:7``."""
        return f"command line '{self.word}'" if self.word else f"{relative(self.file)}:{self.line}"


@dataclass(frozen=True)
class Source:
    """The usable content of a file."""

    root: yaml.MappingNode
    """The content with its lines; empty where the file is no mapping."""
    faults: tuple[Fault, ...]

    def content(self) -> dict[str, Any]:
        """Return the content as new plain data."""
        data: dict[str, Any] = plain(self.root)
        return data


def read_source(file: Path) -> Source:
    """Return the content of *file*; it is parsed once while it does not change.

    Raises:
        OSError: it cannot be read.
    """
    state = file.stat()
    return _read(file, state.st_mtime_ns, state.st_size)


def plain(node: yaml.Node) -> Any:
    """Return the data of *node* as OmegaConf reads it."""
    return _LOADER("").construct_document(_copy(node))


def _copy(node: yaml.Node) -> yaml.Node:
    """Return a copy of the containers, which construction changes."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(_copy(key), _copy(value)) for key, value in node.value]
        return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
    if isinstance(node, yaml.SequenceNode):
        items = [_copy(item) for item in node.value]
        return yaml.SequenceNode(node.tag, items, node.start_mark, node.end_mark)
    return node


@lru_cache(maxsize=512)
def _read(file: Path, _changed: int, _size: int) -> Source:
    body = file.read_bytes()
    try:
        text = body.decode("utf-8")
        root = yaml.compose(text, Loader=_LOADER)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        return _unusable(file, line, f"not UTF-8 text ({error.reason})", "save it as UTF-8")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return _unusable(file, line, f"not YAML: {error.problem}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _unusable(
            file, line, f"not YAML: the character #x{ord(str(error.character)):04x}", "remove it"
        )
    except RecursionError:
        return _unusable(file, 1, "is nested too deeply", f"use at most {_DEEPEST} levels")
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == f"{_PREFIX}null"):
        return Source(_EMPTY, ())
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else f"the value {root.value}"
        return _unusable(file, 1, f"should be a mapping of keys, not {kind}")
    reader = _Reader(file)
    try:
        content = reader.mapping(root, (), ())
        plain(content)
    except _TooLargeError:
        return _unusable(file, 1, "its aliases repeat each other endlessly", "write the values out")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return _unusable(file, line, f"not YAML: {error.problem}")
    return Source(content, tuple(reader.faults))


def _unusable(file: Path, line: int, reason: str, advice: str = "") -> Source:
    return Source(_EMPTY, (Fault(file, line, Problem("", reason, advice=advice), EVERYTHING),))


class _TooLargeError(Exception):
    """The aliases of a file stand for too many nodes."""


class _Reader:
    """Copies the nodes of a file without those that cannot be used."""

    def __init__(self, file: Path) -> None:
        self.faults: list[Fault] = []
        self._file = file
        self._nodes = 0
        self._resolver = _LOADER("")

    def mapping(
        self, node: yaml.MappingNode, path: tuple[str, ...], above: tuple[yaml.Node, ...]
    ) -> yaml.MappingNode:
        pairs = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_PREFIX}str", f"{_PREFIX}merge"):
                is_word = isinstance(key, yaml.ScalarNode)
                reason = f"the key {key.value} is not text" if is_word else "a list or mapping is no key"
                self._refuse(
                    key, path, reason, f"write '{key.value}' in quotes" if is_word else "write a word"
                )
                continue
            inner = path if key.tag.endswith("merge") else (*path, key.value)
            if (kept := self._usable(value, inner, (*above, node))) is not None:
                pairs.append((key, kept))
        return yaml.MappingNode(f"{_PREFIX}map", pairs, node.start_mark, node.end_mark)

    def _usable(
        self, node: yaml.Node, path: tuple[str, ...], above: tuple[yaml.Node, ...]
    ) -> yaml.Node | None:
        """Return a copy of *node*; None if it cannot be used, with the fault added."""
        self._nodes += 1
        if self._nodes > _LARGEST:
            raise _TooLargeError
        if any(node is outer for outer in above):
            self._refuse(node, path, "contains itself by its anchor", "write the value out")
            return None
        if len(above) > _DEEPEST:
            self._refuse(node, path[:1], "is nested too deeply", f"use at most {_DEEPEST} levels")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in (f"{_PREFIX}map", f"{_PREFIX}seq"):
            self._refuse(node, path, f"YAML's tag {_tag(node)} is not supported", "remove it")
            return None
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, above)
        inner = ((item, (*path, str(index))) for index, item in enumerate(node.value))
        items = [self._usable(item, within, (*above, node)) for item, within in inner]
        kept = [item for item in items if item is not None]
        return yaml.SequenceNode(f"{_PREFIX}seq", kept, node.start_mark, node.end_mark)

    def _scalar(self, node: yaml.ScalarNode, path: tuple[str, ...]) -> yaml.ScalarNode | None:
        text = node.value
        if node.tag == f"{_PREFIX}str":
            if "${" in text and (reason := _not_an_interpolation(text)):
                self._refuse(node, path, reason, "close it with '}', or write '\\${' for the text")
                return None
            return node
        if node.tag != self._resolver.resolve(yaml.ScalarNode, text, (True, False)):
            self._refuse(node, path, f"YAML's tag {_tag(node)} is not supported", "remove it")
            return None
        if node.tag in (f"{_PREFIX}int", f"{_PREFIX}float") and (":" in text or _OCTAL.fullmatch(text)):
            value = self._resolver.construct_object(node)
            octal = ":" not in text
            kind = "an octal number" if octal else "a number to the base 60"
            numbers = f"{int(text)}, {value}" if octal else f"{value}"
            advice = f"write {numbers}, or '{text}' in quotes"
            self._refuse(node, path, f"YAML reads {text}, {kind}, as {value}", advice)
        return node

    def _refuse(self, node: yaml.Node, path: tuple[str, ...], reason: str, advice: str) -> None:
        key = ".".join(path)
        line = node.start_mark.line + 1
        self.faults.append(Fault(self._file, line, Problem(key, reason, advice=advice), key))


def _not_an_interpolation(text: str) -> str:
    """Return why OmegaConf cannot parse the interpolation in *text*, empty if it can."""
    try:
        parse(text)
    except (GrammarParseError, RecursionError):
        return f"'{text[:60]}' is not an interpolation"
    return ""


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_PREFIX, "!!")
