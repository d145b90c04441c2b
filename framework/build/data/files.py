"""Rows from the user's own files, local or remote, in any common format.

It finds the files and assigns each row to a split. It does not know what a row means.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.build.data import SPLITS, Data, Line, Split
from framework.build.data.file_formats import READERS, Reader, suffix_of, unknown_suffix
from framework.build.data.raw_rows import Unreadable
from framework.build.data.row_formats import KEYS, read_row
from framework.build.data.row_values import is_missing
from framework.build.data.source_files import SourceFile, file_names, refuse_loose_text, source_files
from framework.core.errors import DataError, SourceError
from framework.core.filesystem import remembered_sha256
from framework.core.problem import Problem
from framework.core.source import Source
from framework.core.workload import DataSize

DEFAULT_TEST_FRACTION = 0.1
_PROBED = 2**16


def _as_list(value: Any) -> Any:
    """Turn a single source into a list of one."""
    return value if value is None or isinstance(value, list | tuple) else [value]


Sources = Annotated[
    tuple[Source, ...],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=Source | str | list[Source | str]),
]
Format = Literal["auto", "jsonl", "json", "csv", "tsv", "txt", "parquet", "arrow"]


class Files(Data):
    """JSONL, JSON, CSV, TSV, text (each also compressed), Parquet or Arrow files."""

    train: Sources
    """Where the rows are: a path or URL, or a list of them; a folder means all files in it. A data set of the
    Hugging Face Hub is ``hf://datasets/org/name@revision``."""
    test: Sources | None = None
    """Rows that are never trained on; None holds out ``test_fraction`` of ``train``."""
    subset: str | None = None
    """Subset (configuration) of a data set repository, as its card or its folders name it; None takes the
    only one, or ``default``. The whole repository is downloaded; a URL may end in one folder of it."""
    split: str | None = None
    """Split of a data set repository to train on, such as ``train`` or ``train+validation``, as its card or
    its files' names say; ``all`` takes every file. It is required where a folder has several."""
    test_split: str | None = None
    """Split to test on: of ``test``, or of ``train`` if there is no ``test``."""
    test_fraction: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of rows held out where there is no ``test`` and no ``test_split``; 0.1 by default.

    A hash of what is read of a row decides whether it is held out: an id or an ignored key does not count.
    Adding, removing or reordering rows moves no other row, and equal rows are in the same split. A small file
    meets the share only roughly.
    """
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """Most rows of each split: the first ones in the order of the files; None takes all. ``data=mix`` with
    ``rows`` draws them by a hash instead."""
    format: Format = "auto"
    """Format of all files; ``auto`` chooses by suffix. In text, each paragraph is a row."""
    columns: dict[str, str] = Field(default={})
    """Maps our keys to the file's: ``{prompt: question, completion: answer}``."""

    @field_validator("split", "test_split")
    @classmethod
    def _check_split(cls, split: str | None) -> str | None:
        if split and "[" in split:
            raise PydanticCustomError(
                "split_slice",
                "'{split}' has a slice; write the split's name, and the number of rows as max_samples",
                {"split": split},
            )
        return split

    @model_validator(mode="after")
    def _check_combination(self) -> "Files":
        if self.test_fraction is not None and (self.test is not None or self.test_split is not None):
            other = "test" if self.test is not None else "test_split"
            raise PydanticCustomError(
                "two_splits",
                "set either '{other}' or 'test_fraction'; the fraction only applies without '{other}'",
                {"other": other},
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
            DataError: a file's format is unknown, it may be no rows, a fault hides the rows after it, or a
                split or subset is missing or not decided.
        """
        yield from islice(self._assigned(split), self.max_samples)

    def uses(self) -> Mapping[str, str]:
        """Return pyarrow for Parquet, Arrow and Zstandard; a remote folder's files are not known yet."""
        names = [name for source in (*self.train, *(self.test or ())) for name in file_names(source)]
        formats = {self.format, *(suffix_of(name) for name in names if self.format == "auto")}
        zstandard = any(name.lower().endswith(".zst") for name in names)
        return {"pyarrow": "parquet"} if formats & {"parquet", "arrow"} or zstandard else {}

    def problems(self) -> list[Problem]:
        """Return local sources without rows or of unknown format, and files that are in both splits."""
        problems = self._shared_sources()
        shared = {problem.key for problem in problems}
        with_rows: dict[Split, dict[str, tuple[str, str]]] = {"train": {}, "test": {}}
        for split in SPLITS if self._has_test else SPLITS[:1]:
            for key, source in self._local_sources(split):
                try:
                    files = [file for file in self._files(source, split) if self._has_rows(file)]
                    with_rows[split] |= {remembered_sha256(file.path): (key, file.name) for file in files}
                except (OSError, SourceError):  # a rule of all sources reports it
                    continue
                except DataError as error:
                    problems.append(Problem(key, str(error)))
                    continue
                if not files:
                    problems.append(
                        Problem(key, f"{source.url} has no rows", advice="add rows to it, or name another")
                    )
        if self.max_overlap != 1:
            train, test = with_rows["train"], with_rows["test"]
            same = [(*test[digest], train[digest][1]) for digest in test if digest in train]
            problems += [_in_both(key, *names) for key, *names in same if key not in shared]
        return problems

    def _shared_sources(self) -> list[Problem]:
        """Return the test sources that are training sources too, by URL."""
        # It is no validator: in a mix, only the mix knows ``max_overlap``.
        if not self._has_test or self.split != self.test_split or self.max_overlap == 1:
            return []
        field = "test" if self.test is not None else "train"
        trained = {source.url for source in self.train}
        tested = enumerate(self._sources("test"))
        return [
            _in_both(f"{field}.{number}", source.url, source.url)
            for number, source in tested
            if source.url in trained
        ]

    def guess_size(self) -> DataSize:
        """Guess from the sizes of local files, with at most ``max_samples`` of each split."""
        size, most = super().guess_size(), self.max_samples
        if most is None:
            return size
        return replace(
            size,
            train=min(size.train, most),
            train_limit=min(size.train_limit, most),
            test=min(size.test, most),
        )

    def when_empty(self, split: Split) -> str:
        """Return what to change where *split* has no rows: without test files, the share that is held out."""
        if self._has_test:
            return super().when_empty(split)
        change = "raise" if split == "test" else "lower"
        return (
            f"data.test_fraction={self._fraction:g} decides by a hash which rows are held out: {change} it, "
            "add rows, or set data.test=<file>"
        )

    @property
    def _has_test(self) -> bool:
        """Whether test rows have their own files."""
        return self.test is not None or self.test_split is not None

    @property
    def _fraction(self) -> float:
        return DEFAULT_TEST_FRACTION if self.test_fraction is None else self.test_fraction

    def _sources(self, split: Split) -> tuple[Source, ...]:
        return self.train if split == "train" or self.test is None else self.test

    def _local_sources(self, split: Split) -> list[tuple[str, Source]]:
        """Return the sources on this machine with their keys."""
        field = "test" if split == "test" and self.test is not None else "train"
        named = [(f"{field}.{number}", source) for number, source in enumerate(self._sources(split))]
        return [(key, source) for key, source in named if source.local]

    def _assigned(self, split: Split) -> Iterator[Line]:
        if self._has_test:
            yield from self._lines(split)
            return
        for line in self._lines("train"):
            held_out = line.problem is None and _hash_position(line.raw, self.ignore) < self._fraction
            if held_out == (split == "test"):
                yield line

    def _lines(self, split: Split) -> Iterator[Line]:
        for source in self._sources(split):
            for path, name, folder in self._files(source, split):
                try:
                    for number, raw, problem in self._reader(name)(path):
                        raw, problem = (raw, problem) if problem else self._rename_columns(raw)
                        yield Line(name, number, raw, problem, folder)
                except Unreadable as error:
                    location = name if error.number is None else f"{name}:{error.number}"
                    raise DataError(f"{location}: {error}") from None

    def _files(self, source: Source, split: Split) -> list[SourceFile]:
        if split == "train":
            files = source_files(source, self.subset, self.split)
        else:
            # Own test rows may be a file beside the subset of a repository.
            subset = self.subset if source.fetch().is_dir() else None
            files = source_files(source, subset, self.test_split)
        if self.format == "auto":
            refuse_loose_text(files)
        return files

    def _reader(self, name: str) -> Reader:
        file_format = suffix_of(name) if self.format == "auto" else self.format
        if file_format not in READERS:
            raise DataError(unknown_suffix(name))
        return READERS[file_format]

    def _has_rows(self, file: SourceFile) -> bool:
        """Return whether *file* has a row, or is too large to be without any.

        Raises:
            DataError: its format is unknown.
        """
        reader, size = self._reader(file.name), file.path.stat().st_size
        if not 0 < size < _PROBED or reader in (READERS["parquet"], READERS["arrow"]):
            return size > 0
        try:
            return next(reader(file.path), None) is not None
        except Unreadable:  # reading reports it
            return True

    def _rename_columns(self, raw: Any) -> tuple[Any, str | None]:
        if not self.columns or not isinstance(raw, dict):
            return raw, None
        if missing := [theirs for theirs in self.columns.values() if theirs not in raw]:
            return raw, f"no key '{missing[0]}', which data.columns maps; the row has {', '.join(raw)}"
        rest = {key: value for key, value in raw.items() if key not in self.columns.values()}
        if lost := [ours for ours in self.columns if not is_missing(rest.get(ours))]:
            return raw, (
                f"data.columns maps '{self.columns[lost[0]]}' to '{lost[0]}', but the row has its own "
                f"'{lost[0]}'; map that too, as data.columns.<our key>={lost[0]}, or remove it"
            )
        return rest | {ours: raw[theirs] for ours, theirs in self.columns.items()}, None


def _in_both(key: str, test: str, train: str) -> Problem:
    what = f"{test} is" if test == train else f"{test} has the bytes of {train}, so it is"
    return Problem(
        key,
        f"{what} in both 'train' and 'test'",
        ("test=null",) if key.startswith("test.") else (),
        "set data.max_overlap=1 to test on rows that are learned",
    )


def _hash_position(raw: Any, ignore: tuple[str, ...]) -> float:
    """Return a number in [0, 1) that depends only on what is read of the row."""
    try:
        content: Any = read_row(raw, ignore)[0]
    except DataError:  # it is rejected in either split
        content = raw
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
