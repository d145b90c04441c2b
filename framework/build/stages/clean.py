"""Stage ``clean``: one cleaning step over canonical rows, in shards; see ``framework.build.clean``."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from framework.build.clean import Batch, CorpusClean, RowClean
from framework.build.clean.decision import kept_rows
from framework.build.clean.process_pool import ordered_map
from framework.build.clean.removals import Removals, require_share
from framework.build.data import SPLITS, Split
from framework.build.data.overlap import find_overlap
from framework.build.data.rejects import Rejects
from framework.build.data.shards import (
    SourcedRow,
    in_shards,
    read_shards,
    read_summary,
    write_shards,
    write_summary,
)
from framework.build.model import Model
from framework.core.component import UNKEYED
from framework.core.errors import DataError
from framework.core.step import Stage, Workspace
from framework.core.workload import LIBRARIES, DataSize, Estimate, Workload

_Option = TypeVar("_Option", RowClean, CorpusClean)


class CleanRows(Stage):
    """Remove and rewrite rows; writes the layout of ``framework.build.data.shards``, and more.

    Beside the rows are::

        removed.jsonl   every removed row with its split, file, line, rule and reason
        samples.json    of each rule, up to ten rows: removed, or before and after

    ``summary.json`` counts the rows of each split that a rule removed (``removed_by``) and rewrote
    (``rewritten_by``).
    """

    name: ClassVar[str] = "clean"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("tokenizers",)
    weight_copies: ClassVar[float] = 0.0

    clean: RowClean | CorpusClean
    """The cleaning option."""
    option: Annotated[str, UNKEYED]
    """The option's name in the config, for messages."""
    model: Model | None = None
    """Counts tokens for an option that needs it; its folder is then the input ``model``."""

    @classmethod
    def of(cls, option: str, clean: RowClean | CorpusClean, model: Model) -> Self:
        """Return the stage of the option *clean*, which the config calls *option*."""
        return cls(clean=clean, option=option, model=model if clean.needs_tokenizer else None)

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Clean both splits of input ``rows``.

        Raises:
            DataError: more training rows are removed than ``max_removed`` allows, or all; or a rule removes
                test rows.
        """
        rows, before = inputs["rows"], read_summary(inputs["rows"])
        summary: dict[str, dict[str, Any]] = {}
        with Rejects(output, rows) as rejects, Removals(output) as removals:
            for split in SPLITS:
                cleaned = (
                    self._train(inputs, removals, workspace)
                    if split == "train"
                    else self._test(inputs, removals)
                )
                written = write_shards(output, split, cleaned)
                counts = {"before": before[split]["rows"], "rejected": rejects.count(split)}
                summary[split] = {**written, **counts, **removals.summary(split)}
            removals.write_samples()
            self._require_test_rows(summary["test"], removals)
        self._require_share(summary)
        removals.report()
        overlap = find_overlap(output)  # texts that become equal may have been different
        summary["test"]["in_train"] = overlap.count
        write_summary(output, summary)

    def accept(self, folder: Path) -> None:
        """Raise ``DataError`` if more rows were removed than ``max_removed`` allows now."""
        if (folder / "summary.json").is_file():
            self._require_share(read_summary(folder))

    def estimate(self, workload: Workload) -> Estimate:
        """Predict from the option's measured time for a row; the memory is that of the libraries."""
        size = workload.data.get("rows")
        rows = size.train_limit + size.test if size else 0
        return Estimate(1 + rows * self.clean.seconds_per_row / self.clean.workers, LIBRARIES)

    def data_size(self, inputs: Mapping[str, DataSize], folder: Path | None) -> DataSize:
        """Return the size of input ``rows``, with the true number of rows once they are cleaned."""
        size = inputs["rows"]
        if folder is None:
            return size
        summary = read_summary(folder)
        train, test = summary["train"]["rows"], summary["test"]["rows"]
        return DataSize(train, train, test, size.length)

    def _train(
        self, inputs: Mapping[str, Path], removals: Removals, workspace: Workspace
    ) -> Iterator[SourcedRow]:
        if isinstance(self.clean, RowClean):
            return self._applied(self._opened(self.clean, inputs), inputs["rows"], "train", removals)
        return kept_rows(self._opened(self.clean, inputs), inputs["rows"], removals, workspace.scratch)

    def _test(self, inputs: Mapping[str, Path], removals: Removals) -> Iterator[SourcedRow]:
        rewriter = self.clean.for_test_rows() if isinstance(self.clean, RowClean) else None
        if rewriter is None:
            return read_shards(inputs["rows"], "test")
        return self._applied(self._opened(rewriter, inputs), inputs["rows"], "test", removals)

    def _opened(self, clean: _Option, inputs: Mapping[str, Path]) -> _Option:
        return clean.opened(inputs["rows"], self.model.tokenizer(inputs["model"]) if self.model else None)

    def _applied(self, clean: RowClean, rows: Path, split: Split, removals: Removals) -> Iterator[SourcedRow]:
        for kept, reasons in ordered_map(clean.apply, _batches(rows, split), self.clean.workers):
            for reason in reasons:
                removals.add(split, reason)
            yield from kept

    def _require_share(self, summary: Mapping[str, Mapping[str, Any]]) -> None:
        train = summary["train"]
        require_share(f"clean.{self.option}", train["removed_by"], train["before"], self.clean.max_removed)

    def _require_test_rows(self, test: Mapping[str, Any], removals: Removals) -> None:
        if test["rows"] != test["before"] or removals.removed("test"):
            raise DataError(
                f"data: clean.{self.option} changed the number of test rows from {test['before']} to "
                f"{test['rows']}; for_test_rows of {type(self.clean).__name__} must only rewrite them"
            )


def _batches(folder: Path, split: Split) -> Iterator[Batch]:
    return in_shards(read_shards(folder, split), lambda row: len(row.text))
