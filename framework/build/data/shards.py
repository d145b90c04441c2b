"""How rows pass from one data stage to the next: JSON Lines files of bounded size, with each row's origin.

A stage that reads, cleans or encodes rows writes this layout into its output folder::

    train/00000.jsonl           canonical rows, one JSON object per line; ``test/`` likewise
    origins/train/00000.jsonl   [file, line], or [file, line, image], for the same line of train/00000.jsonl
    images/<sha256>.<suffix>    a copy of each image that a row names; ``encode`` leaves them out
    rejected.jsonl              every row rejected so far; see ``framework.build.data.rejects``
    summary.json                for each split: ``rows``, ``rejected`` and ``sha256``, and what the stage adds

``cat train/*.jsonl`` is the whole split, and ``sha256`` is the digest of exactly that. A cleaning step
reads ``read_shards(inputs["rows"], split)`` and passes the rows that it keeps to ``write_shards``. Both
are streams: one shard is in memory at a time, however many rows there are.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from framework.build.data import Split
from framework.build.data.row import Row
from framework.core.errors import DataError
from framework.core.filesystem import sha256_of

SUMMARY = "summary.json"
ROWS_PER_SHARD = 4096
BYTES_PER_SHARD = 16 * 2**20
"""A shard ends with the row that reaches either limit."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class SourcedRow:
    """A canonical row and where it was read from."""

    text: str
    """The row as one line of JSON, without the line's end."""
    file: str
    """The source file, as messages name it."""
    line: int
    """The line of the source file on which the row begins, from 1."""
    image: Path | None = None
    """The file that the row's ``image`` refers to."""

    @property
    def row(self) -> Row:
        """The row, parsed."""
        return cast(Row, json.loads(self.text))


def to_json(row: Row, *, sort_keys: bool = False) -> str:
    """Return *row* as one line of JSON, without the line's end.

    Raises:
        DataError: a value has no form in JSON, or is not valid Unicode.
    """
    try:
        text = json.dumps(row, ensure_ascii=False, sort_keys=sort_keys)
        text.encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"the row cannot be written as JSON: {error}") from None
    return text


def read_shards(folder: Path, split: Split) -> Iterator[SourcedRow]:
    """Yield the rows of *split* in order from *folder*, the output of a data stage."""
    for file in _shard_files(folder / split):
        with file.open(encoding="utf-8") as rows, _origins(folder, split, file.name).open() as origins:
            for text, origin in zip(rows, origins, strict=True):
                name, line, *image = json.loads(origin)
                path = folder / "images" / image[0] if image else None
                yield SourcedRow(text.removesuffix("\n"), name, line, path)


def write_shards(folder: Path, split: Split, rows: Iterable[SourcedRow]) -> dict[str, Any]:
    """Write *rows* as *split* of *folder*; return their number and sha256 for the summary."""
    count = 0
    for number, shard in enumerate(in_shards(rows, lambda row: len(row.text))):
        write_shard(folder, split, number, shard)
        count += len(shard)
    return {"rows": count, "sha256": split_sha256(folder, split)}


def in_shards(items: Iterable[_Item], size: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Group *items* into shards of at most ``ROWS_PER_SHARD``, or about ``BYTES_PER_SHARD`` by *size*."""
    shard: list[_Item] = []
    used = 0
    for item in items:
        shard.append(item)
        used += size(item)
        if len(shard) == ROWS_PER_SHARD or used >= BYTES_PER_SHARD:
            yield shard
            shard, used = [], 0
    if shard:
        yield shard


def write_shard(folder: Path, split: Split, number: int, rows: list[SourcedRow]) -> Path:
    """Write one shard with its origins and images; return the path of its rows."""
    file = folder / split / f"{number:05}.jsonl"
    origins = _origins(folder, split, file.name)
    for path in (file, origins):
        path.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row.text}\n" for row in rows), encoding="utf-8", newline="\n")
    lines = []
    for row in rows:
        image = [_copy_image(row.image, folder / "images")] if row.image else []
        lines.append(json.dumps([row.file, row.line, *image]) + "\n")
    origins.write_text("".join(lines))
    return file


def split_sha256(folder: Path, split: Split) -> str:
    """Return the hex sha256 of the split's shards, end to end."""
    digest = hashlib.sha256()
    for file in _shard_files(folder / split):
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def read_row(split_folder: Path, number: int) -> str:
    """Return row *number* of a split, from 0, as a line of JSON; "" if there is no such row."""
    for file in _shard_files(split_folder):
        with file.open(encoding="utf-8") as stream:
            for line in stream:
                if number == 0:
                    return line.removesuffix("\n")
                number -= 1
    return ""


def read_summary(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what ``write_summary`` wrote."""
    summary: dict[str, dict[str, Any]] = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return summary


def write_summary(folder: Path, summary: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the counts of each split to ``summary.json``."""
    text = json.dumps(summary, indent=2, sort_keys=True) + "\n"
    (folder / SUMMARY).write_text(text, encoding="utf-8")


def _shard_files(split_folder: Path) -> list[Path]:
    return sorted(split_folder.glob("*.jsonl"), key=lambda file: int(file.stem))


def _origins(folder: Path, split: Split, name: str) -> Path:
    return folder / "origins" / split / name


def _copy_image(image: Path, images: Path) -> str:
    """Copy *image* to a file named by its sha256, unless it is there; return the name.

    It is copied and not linked: the user's file may change in place, and the artifact must not.
    """
    copy = images / f"{sha256_of(image)}{image.suffix.lower()}"
    if not copy.exists():
        images.mkdir(exist_ok=True)
        shutil.copyfile(image, copy)
    return copy.name
