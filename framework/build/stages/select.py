"""Stage ``select``: one selecting step over canonical rows, in shards; see ``framework.build.select``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from framework.build.clean.decision import kept_rows
from framework.build.clean.removals import Removals
from framework.build.data.rejects import Rejects
from framework.build.data.shards import read_shards, read_summary, write_shards, write_summary
from framework.build.select import Select
from framework.core.component import UNKEYED
from framework.core.errors import DataError
from framework.core.step import Stage, Workspace
from framework.core.workload import LIBRARIES, DataSize, Estimate, Workload


class SelectRows(Stage):
    """Take some of the training rows; writes what ``CleanRows`` writes, with the rows that are left out."""

    name: ClassVar[str] = "select"
    version: ClassVar[int] = 1
    weight_copies: ClassVar[float] = 0.0

    select: Select
    """The selecting option."""
    option: Annotated[str, UNKEYED]
    """The option's name in the config, for messages."""

    @classmethod
    def of(cls, option: str, select: Select) -> Self:
        """Return the stage of the option *select*, which the config calls *option*."""
        return cls(select=select, option=option)

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Select training rows of input ``rows``; test rows pass.

        Raises:
            DataError: no row is taken, or the option cannot judge a row.
            SourceError: a file of examples is missing.
        """
        rows, before = inputs["rows"], read_summary(inputs["rows"])
        with Rejects(output, rows) as rejects, Removals(output) as removals:
            select = self.select.opened(rows)
            kept = {
                "train": kept_rows(select, rows, removals, workspace.scratch),
                "test": read_shards(rows, "test"),
            }
            summary: dict[str, dict[str, Any]] = {
                split: {
                    **write_shards(output, split, kept[split]),
                    **{"before": before[split]["rows"], "rejected": rejects.count(split)},
                    **removals.summary(split),
                }
                for split in ("train", "test")
            }
            removals.write_samples()
        if not summary["train"]["rows"]:
            raise DataError(f"data: select.{self.option} takes none of {before['train']['rows']} rows")
        removals.report()
        summary["test"]["in_train"] = before["test"]["in_train"]
        write_summary(output, summary)

    def estimate(self, workload: Workload) -> Estimate:
        """Predict from the option's measured time for a row; the memory is that of the libraries."""
        size = workload.data.get("rows")
        rows = size.train_limit if size else 0
        return Estimate(1 + rows * self.select.seconds_per_row / self.select.workers, LIBRARIES)

    def data_size(self, inputs: Mapping[str, DataSize], folder: Path | None) -> DataSize:
        """Return the size of input ``rows`` after the selection, with the true number once it is made."""
        size = inputs["rows"]
        if folder is None:
            train, most = self.select.expected(size.train), self.select.expected(size.train_limit)
            return DataSize(train, most, size.test, size.length)
        summary = read_summary(folder)
        train, test = summary["train"]["rows"], summary["test"]["rows"]
        return DataSize(train, train, test, size.length)
