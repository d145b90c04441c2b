"""Rows from the user's own files, local or remote, in any common format.

It finds the files and assigns each row to a split. It does not know what a row means.
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


def _as_list(value: Any) -> Any:
    """Turn a single source into a list of one."""
    return value if value is None or isinstance(value, list | tuple) else [value]


Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=Source | str | list[Source | str]),
]
Format = Literal["auto", "jsonl", "json", "csv", "tsv", "txt", "parquet"]


class Files(Data):
    """JSONL, JSON, CSV, TSV, text (each also gzipped) or Parquet files."""

    train: Sources
    """Where the rows are: a path or URL, or a list of them; a folder means all files in it."""
    test: Sources | None = None
    """Rows that are never trained on; None holds out ``test_fraction`` of ``train``."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of rows held out where there is no ``test``; 0.1 by default.

    A hash of its content decides whether a row is held out. Adding, removing or reordering rows moves no
    other row, and equal rows are in the same split. A small file meets the share only roughly.
    """
    format: Format = "auto"
    """Format of all files; ``auto`` chooses by suffix. In text, each paragraph is a row."""
    columns: dict[str, str] = Field(default={})
    """Maps our keys to the file's: ``{prompt: question, completion: answer}``."""

    @model_validator(mode="after")
    def _check_combination(self) -> "Files":
        if self.test is not None and self.test_fraction is not None:
            raise PydanticCustomError(
                "two_splits", "set either 'test' or 'test_fraction'; the fraction only applies without 'test'"
            )
        if both := {source.url for source in self.train} & {source.url for source in self.test or ()}:
            raise PydanticCustomError(
                "same_source", "{url} is in both 'train' and 'test'", {"url": min(both)}
            )
        if unknown := [key for key in self.columns if key not in KEYS]:
            raise PydanticCustomError(
                "unknown_column",
                "columns: '{key}' is not one of {keys}; write columns as <our key>: <the file's key>",
                {"key": unknown[0], "keys": ", ".join(KEYS)},
            )
        return self

    def read(self, split: Split) -> Iterator[Line]:
        """Yield the split's lines: sources in order, the files of a folder by name, lines from the top.

        Where test rows are held out of ``train``, broken lines belong to the training split.

        Raises:
            SourceError: a file is missing, or its sha256 does not match.
            DataError: a file's format is unknown, or a fault hides the rows after it.
        """
        if self.test is not None:
            yield from self._lines(self.train if split == "train" else self.test)
            return
        fraction = DEFAULT_TEST_FRACTION if self.test_fraction is None else self.test_fraction
        for line in self._lines(self.train):
            held_out = line.problem is None and _hash_position(line.raw) < fraction
            if held_out == (split == "test"):
                yield line

    def _lines(self, sources: tuple[Source, ...]) -> Iterator[Line]:
        for source in sources:
            is_folder = source.fetch().is_dir()
            for path, name in _files(source):
                try:
                    for number, raw, problem in self._reader(name)(path):
                        raw, problem = (raw, problem) if problem else self._rename_columns(raw)
                        yield Line(name, number, raw, problem, path.parent if is_folder else None)
                except Unreadable as error:
                    location = name if error.number is None else f"{name}:{error.number}"
                    raise DataError(f"{location}: {error}") from None

    def _reader(self, name: str) -> Reader:
        file_format = _suffix(name) if self.format == "auto" else self.format
        if file_format not in READERS:
            raise DataError(
                f"{name}: unknown suffix, should be one of {', '.join(READERS)}; set data.format=<format>"
            )
        return READERS[file_format]

    def _rename_columns(self, raw: Any) -> tuple[Any, str | None]:
        if not self.columns or not isinstance(raw, dict):
            return raw, None
        if missing := [theirs for theirs in self.columns.values() if theirs not in raw]:
            return raw, f"no key '{missing[0]}', which data.columns maps; the row has {', '.join(raw)}"
        rest = {key: value for key, value in raw.items() if key not in self.columns.values()}
        return rest | {ours: raw[theirs] for ours, theirs in self.columns.items()}, None


def _files(source: Source) -> Iterator[tuple[Path, str]]:
    """Yield each file of *source* and its name for messages, which is the same on every machine."""
    path, url = source.fetch(), source.url.removeprefix("file://")
    if not path.is_dir():
        yield path, url
        return
    readable = [file for file in files_below(path) if _suffix(file.name) in READERS]
    if not readable:
        raise DataError(f"{url}: no file in the folder ends in {', '.join(READERS)}")
    for file in readable:
        yield file, f"{url.rstrip('/')}/{file.relative_to(path).as_posix()}"


def _suffix(name: str) -> str:
    """Return the last suffix in lower case, without its dot; ``.gz`` is ignored.

    >>> _suffix("rows.JSONL.gz")
    'jsonl'
    """
    return name.lower().removesuffix(".gz").rpartition("/")[2].rpartition(".")[2]


def _hash_position(raw: Any) -> float:
    """Return a number in [0, 1) that depends on the row's content only."""
    text = json.dumps(raw, sort_keys=True, ensure_ascii=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
