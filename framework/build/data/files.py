"""Rows from the user's own files, local or remote, in the formats people have them in.

It knows the files' formats (through ``formats``) and which split a row falls in, not what a row means.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.data import Data, Line, Split
from framework.build.data.file_formats import READERS, Reader, Unreadable
from framework.build.data.row_formats import KEYS
from framework.core.errors import DataError
from framework.core.filesystem import files_below
from framework.core.source import Source

DEFAULT_TEST_FRACTION = 0.1


def _listed(value: Any) -> Any:
    """Let one source stand for a list of one."""
    return value if value is None or isinstance(value, list | tuple) else [value]


Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1),
    BeforeValidator(_listed, json_schema_input_type=Source | str | list[Source | str]),
]
Format = Literal["auto", "jsonl", "json", "csv", "tsv", "txt", "parquet"]


class Files(Data):
    """JSONL, JSON, CSV, TSV, Parquet or text files, each also gzipped (but Parquet)."""

    train: Sources
    """Where the rows are: a path or URL, or a list of them; a folder stands for the files in it."""
    test: Sources | None = None
    """Rows that are never trained on; None holds out ``test_fraction`` of ``train``."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of rows held out where there is no ``test``; 0.1 unless given.

    A row is held out by a hash of its content, so that adding, removing or reordering rows never moves
    another one, equal rows never face each other, and the share is met only roughly in a small file.
    """
    format: Format = "auto"
    """How every file is read; ``auto`` goes by its suffix. Text is one row a paragraph."""
    columns: dict[str, str] = Field(default={})
    """Our key to the file's own: ``{prompt: question, completion: answer}``."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Files":
        if self.test is not None and self.test_fraction is not None:
            raise PydanticCustomError(
                "two_splits", "give 'test' or 'test_fraction', not both: the fraction would not be used"
            )
        if both := {source.url for source in self.train} & {source.url for source in self.test or ()}:
            raise PydanticCustomError(
                "same_source", "{url} is in both 'train' and 'test'", {"url": min(both)}
            )
        if unknown := [key for key in self.columns if key not in KEYS]:
            raise PydanticCustomError(
                "unknown_column",
                "columns: '{key}' is none of {keys}; write columns as <our key>: <the file's key>",
                {"key": unknown[0], "keys": ", ".join(KEYS)},
            )
        return self

    def read(self, split: Split) -> Iterator[Line]:
        """Yield the split's lines: sources in their order, folders by name, lines from the top.

        Where the test rows come out of ``train``, broken lines belong to the training split.

        Raises:
            SourceError: a file is missing or has another sha256.
            DataError: a file's format is unknown, or it is broken past telling its rows apart.
        """
        if self.test is not None:
            yield from self._lines(self.train if split == "train" else self.test)
            return
        fraction = DEFAULT_TEST_FRACTION if self.test_fraction is None else self.test_fraction
        for line in self._lines(self.train):
            held_out = line.problem is None and _position(line.raw) < fraction
            if held_out == (split == "test"):
                yield line

    def _lines(self, sources: tuple[Source, ...]) -> Iterator[Line]:
        for source in sources:
            inside = source.fetch().is_dir()
            for path, shown in _files(source):
                try:
                    for number, raw, problem in self._reader(shown)(path):
                        raw, problem = (raw, problem) if problem else self._renamed(raw)
                        yield Line(shown, number, raw, problem, path.parent if inside else None)
                except Unreadable as error:
                    where = shown if error.number is None else f"{shown}:{error.number}"
                    raise DataError(f"{where}: {error}") from None

    def _reader(self, name: str) -> Reader:
        chosen = _suffix(name) if self.format == "auto" else self.format
        if chosen not in READERS:
            raise DataError(
                f"{name}: its suffix is none of {', '.join(READERS)}; name the format with data.format"
            )
        return READERS[chosen]

    def _renamed(self, raw: Any) -> tuple[Any, str | None]:
        if not self.columns or not isinstance(raw, dict):
            return raw, None
        if absent := [theirs for theirs in self.columns.values() if theirs not in raw]:
            return raw, f"no key '{absent[0]}', which data.columns asks for; it has {', '.join(raw)}"
        rest = {key: value for key, value in raw.items() if key not in self.columns.values()}
        return rest | {ours: raw[theirs] for ours, theirs in self.columns.items()}, None


def _files(source: Source) -> Iterator[tuple[Path, str]]:
    """Yield each file of *source* and the name to report it by, free of this machine's folders."""
    path, url = source.fetch(), source.url.removeprefix("file://")
    if not path.is_dir():
        yield path, url
        return
    inside = [file for file in files_below(path) if _suffix(file.name) in READERS]
    if not inside:
        raise DataError(f"{url}: the folder holds no file that ends in {', '.join(READERS)}")
    for file in inside:
        yield file, f"{url.rstrip('/')}/{file.relative_to(path).as_posix()}"


def _suffix(name: str) -> str:
    """Return the last suffix in lower case, without its dot and without ``.gz``.

    >>> _suffix("rows.JSONL.gz")
    'jsonl'
    """
    return name.lower().removesuffix(".gz").rpartition("/")[2].rpartition(".")[2]


def _position(raw: Any) -> float:
    """Return a row's place between 0 and 1, decided by its content alone."""
    text = json.dumps(raw, sort_keys=True, ensure_ascii=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
