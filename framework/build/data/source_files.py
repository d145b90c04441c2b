"""The files of a source, and which of them belong to a subset and a split of a data set repository.

A folder may be laid out as on the Hugging Face Hub: its card, ``README.md``, lists subsets (configurations)
and their splits in YAML, or the files' names say the split. It reads no rows.
https://huggingface.co/docs/hub/datasets-data-files-configuration
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from framework.build.data.file_formats import READERS, suffix_of
from framework.core.errors import DataError
from framework.core.filesystem import files_below
from framework.core.source import Source

ALL = "all"
"""In place of a split's name: every file."""

_DEFAULT = "default"
_METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_NOTICES = (
    *("license", "licence", "copying", "copyright", "notice", "readme", "authors", "contributors"),
    *("contributing", "changelog", "citation", "requirements", "requirements-dev", "constraints", "robots"),
)
"""Names of text files that are about a folder."""
_CARD = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


class SourceFile(NamedTuple):
    """A file with rows."""

    path: Path
    name: str
    """Its name in messages, the same on every machine."""
    folder: Path | None
    """The folder that paths in its rows are relative to; None unless the source is a folder."""


def file_names(source: Source) -> list[str]:
    """Return the names of the files of *source* as far as this machine has them, else its URL alone."""
    folder = source.at_hand()
    return [file.name for file in files_below(folder)] if folder and folder.is_dir() else [source.url]


def source_files(source: Source, subset: str | None, split: str | None) -> list[SourceFile]:
    """Return the files of *source* in order, those of a folder by name; at least one.

    Args:
        source: a file, of which there are no *subset* and *split*, or a folder.
        subset: the name of a subset; None takes the only one, or the one named ``default``.
        split: the name of a split, several with ``+`` between them, or ``all``; None takes the only one.

    Raises:
        SourceError: it cannot be fetched.
        DataError: no file has a known format, or the folder's files do not decide what is meant.
    """
    path, url = source.fetch(), source.url.removeprefix("file://").rstrip("/")
    if not path.is_dir():
        if subset or split:
            raise DataError(f"{url} is a file, but data.subset and data.split choose files of a folder")
        return [SourceFile(path, url, None)]
    files = [file for file in files_below(path) if suffix_of(file.name) in READERS]
    files = [file for file in files if file.name not in _METADATA]
    if not files:
        raise DataError(f"{url}: no file in the folder ends in {', '.join(READERS)}")
    splits = _card_splits(path, files, subset, split, url)
    if splits is None:
        files = _of_subset(path, files, subset, url)
        splits = _named_splits(path, files)
    else:
        listed = {file for named in splits.values() for file in named}
        files = [file for file in files if file in listed]
    if split == ALL:
        chosen = files
    elif split is not None:
        chosen = [file for name in split.split("+") for file in _files_of(splits, name, url)]
    elif len(splits) > 1:
        names = ", ".join(splits)
        raise DataError(
            f"{url}: its files are of the splits {names}; set data.split={next(iter(splits))} "
            f"(and data.test_split=<name>), or data.split={ALL} to train on all of them"
        )
    else:
        chosen = files
    return [SourceFile(file, f"{url}/{file.relative_to(path).as_posix()}", file.parent) for file in chosen]


def refuse_loose_text(files: Sequence[SourceFile]) -> None:
    """Raise ``DataError`` for text files that may be no documents to learn, such as a license."""
    text = [file for file in files if file.folder is not None and suffix_of(file.name) == "txt"]
    if len(text) == len(files):
        text = [file for file in text if file.path.name.lower().partition(".")[0] in _NOTICES]
        fix = "set data.format=txt to learn them, or data.train=[<file>,<file>] without them"
    else:
        fix = "set data.train=[<file>,<file>], the files with rows, or data.format=txt to read all as text"
    if text:
        names = ", ".join(file.name for file in text[:3]) + (", …" if len(text) > 3 else "")
        raise DataError(f"{names} would be learned as documents, paragraph by paragraph; {fix}")


def _files_of(splits: Mapping[str, Sequence[Path]], name: str, url: str) -> Sequence[Path]:
    if name not in splits:
        known = f"it has {', '.join(splits)}" if splits else "the names of its files state no split"
        raise DataError(f"{url}: no split '{name}'; {known}")
    return splits[name]


def _card_splits(
    folder: Path, files: list[Path], subset: str | None, split: str | None, url: str
) -> dict[str, list[Path]] | None:
    """Return the files of each split of *subset* as the folder's card lists them; None if it lists none.

    Only the splits that are chosen by *split* must have files.
    """
    subsets, default = _card_subsets(folder)
    if not subsets:
        return None
    name = subset or (default if default in subsets or len(subsets) > 1 else next(iter(subsets)))
    if name not in subsets:
        asked = f"no subset '{subset}'; it has" if subset else "it has the subsets"
        raise DataError(f"{url}: {asked} {', '.join(subsets)}; set data.subset=<name>")
    known = set(files)
    chosen = [*subsets[name]] if split is None or split == ALL else split.split("+")
    splits = {}
    for named, patterns in subsets[name].items():
        splits[named] = sorted(known & _matches(folder, patterns))
        if named in chosen and not splits[named]:
            raise DataError(
                f"{url}: no readable file matches {', '.join(map(repr, patterns)) or 'nothing'} of split "
                f"'{named}' of its card; choose another with data.split, or name the files as data.train"
            )
    return splits


def _matches(folder: Path, patterns: Sequence[Any]) -> set[Path]:
    """Return the files that match a pattern of the card; what is no pattern matches none."""
    files: set[Path] = set()
    for pattern in patterns:
        with suppress(ValueError, NotImplementedError):
            files.update(folder.glob(str(pattern).lstrip("/")))
    return files


def _card_subsets(folder: Path) -> tuple[dict[str, dict[str, list[Any]]], str]:
    """Return the patterns of files by subset and split from the YAML in ``README.md``, and the default."""
    card = folder / "README.md"
    match = _CARD.search(card.read_text(encoding="utf-8", errors="replace")) if card.is_file() else None
    try:
        fields = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        fields = None
    listed = fields.get("configs") if isinstance(fields, dict) else None
    subsets, default = {}, _DEFAULT
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict) and (splits := _patterns(item.get("data_files"))):
            name = str(item.get("config_name", _DEFAULT))
            subsets[name] = splits
            default = name if item.get("default") is True else default
    return subsets, default


def _patterns(data_files: Any) -> dict[str, list[Any]]:
    """Return the patterns by split; without names of splits, all are of ``train``."""
    if isinstance(data_files, dict):
        return {str(split): _as_list(paths) for split, paths in data_files.items()}
    items = _as_list(data_files)
    if all(isinstance(item, dict) for item in items):
        splits: dict[str, list[Any]] = {}
        for item in items:
            splits.setdefault(str(item.get("split", "train")), []).extend(_as_list(item.get("path")))
        return splits
    return {"train": items}


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _of_subset(folder: Path, files: list[Path], subset: str | None, url: str) -> list[Path]:
    """Return the files below a folder named *subset*."""
    if subset is None:
        return files
    parents = {file: file.relative_to(folder).parent.parts for file in files}
    chosen = [file for file in files if subset in parents[file]]
    if not chosen:
        known = sorted({part for parts in parents.values() for part in parts})
        instead = f"its folders are {', '.join(known)}" if known else "it has no folders and no card with any"
        raise DataError(f"{url}: no subset '{subset}'; {instead}")
    return chosen


def _named_splits(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """Return the files whose name, or else whose folder, has the word of a split, by split."""
    splits: dict[str, list[Path]] = {}
    for file in files:
        words = re.split(r"[-._ 0-9/]+", file.relative_to(folder).as_posix().lower())
        named = [split for word in reversed(words) for split, known in _WORDS.items() if word in known]
        if named:
            splits.setdefault(named[0], []).append(file)
    return {split: splits[split] for split in _WORDS if split in splits}
