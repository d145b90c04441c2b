"""Stage ``read``: from a data option to checked canonical rows, in shards; it needs no model."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field

from framework.build.data import SPLITS, Data, Line, Split
from framework.build.data.overlap import find_overlap
from framework.build.data.rejects import Rejects
from framework.build.data.shards import SourcedRow, read_summary, to_json, write_shards, write_summary
from framework.build.data.unused_keys import UnusedKeys
from framework.core.component import UNKEYED
from framework.core.errors import DataError
from framework.core.step import Stage, Workspace
from framework.core.workload import DataSize


class ReadRows(Stage):
    """Read and check rows; writes the layout of ``framework.build.data.shards``."""

    name: ClassVar[str] = "read"
    version: ClassVar[int] = 4
    weight_copies: ClassVar[float] = 0.0

    data: Data
    """The data option, without its limits on tokens: rows are read once for all models and limits."""
    max_rejected: Annotated[float, UNKEYED, Field(ge=0, le=1)] = 0.05
    """See ``Data.max_rejected``. It changes no row, and ``encode`` applies it again to all rejected rows."""
    max_overlap: Annotated[float | None, UNKEYED, Field(ge=0, le=1)] = None
    """See ``Data.max_overlap``. It changes no row, and ``encode`` applies it again to the rows it gets."""

    @classmethod
    def of(cls, data: Data) -> Self:
        """Return the stage that reads *data*."""
        limits = ("max_length", "too_long", "max_rejected", "max_overlap", "loss_on")
        defaults = {name: Data.model_fields[name].default for name in limits}
        return cls(
            data=data.model_copy(update=defaults),
            max_rejected=data.max_rejected,
            max_overlap=data.max_overlap,
        )

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Read both splits; there are no inputs.

        Raises:
            DataError: a split has no usable row, too many rows were rejected, too many are in both splits,
                or rows have keys that are neither used nor ignored.
            SourceError: a file cannot be fetched.
        """
        summary: dict[str, dict[str, Any]] = {}
        keys = UnusedKeys()
        with Rejects(output) as rejects:
            for split in SPLITS:
                written = write_shards(output, split, self._rows(split, rejects, keys))
                rejects.require_rows(split, written["rows"], self.data.when_empty(split))
                summary[split] = {**written, "rejected": rejects.count(split)}
            rejects.require_shares(self.max_rejected, {split: summary[split]["rows"] for split in SPLITS})
        keys.require_none()
        overlap = find_overlap(output)
        overlap.require(self.max_overlap)
        summary["test"]["in_train"] = overlap.count
        if left_out := self.data.left_out():
            summary["left_out"] = dict(left_out)
            counted = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
            print(f"left out: {counted}", file=sys.stderr)
        write_summary(output, summary)
        rejects.report()
        keys.report()
        overlap.report()

    def data_size(self, inputs: Mapping[str, DataSize], folder: Path | None) -> DataSize:
        """Return what the data option guesses, with the true number of rows once they are read."""
        guess = self.data.guess_size()
        if folder is None:
            return guess
        summary = read_summary(folder)
        train, test = summary["train"]["rows"], summary["test"]["rows"]
        return replace(guess, train=train, train_limit=train, test=test)

    def _rows(self, split: Split, rejects: Rejects, keys: UnusedKeys) -> Iterator[SourcedRow]:
        for line in self.data.read(split):
            try:
                yield _checked(line, keys, (*self.data.ignore, *line.ignore))
            except DataError as error:
                rejects.add(split, line.file, line.number, str(error))


def _checked(line: Line, keys: UnusedKeys, ignore: tuple[str, ...]) -> SourcedRow:
    """Return the canonical row of *line* without the keys of *ignore*; *keys* counts those not used.

    Raises:
        DataError: the line could not be read, or the row has no accepted form.
    """
    if line.problem is not None:
        raise DataError(line.problem)
    row = keys.canonical(line.raw, ignore)
    image = _image_file(row["image"], line.folder) if "image" in row else None
    return SourcedRow(to_json(row), line.file, line.number, image)


def _image_file(image: str, folder: Path | None) -> Path:
    """Return the path of a row's image.

    Raises:
        DataError: it is not a file below *folder*, where the row was read.
    """
    if folder is None:
        raise DataError(
            "a row with an 'image' must come from a folder, so that the image's bytes enter the step's key; "
            "set data.train (and data.test) to the folder that holds the rows and the images"
        )
    file = (folder / image).resolve()
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise DataError(f"image {image!r} is not a file below the folder of its rows")
    return file
