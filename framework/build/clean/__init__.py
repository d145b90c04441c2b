"""Base classes of the cleaning options, which remove and rewrite rows between ``read`` and ``encode``.

Training rows are removed and rewritten. Test rows are only rewritten, and never removed: what is measured
must not depend on what a rule thinks of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, Self

from pydantic import Field

from framework.build.data.shards import SourcedRow
from framework.core.component import UNKEYED, Component
from framework.core.problem import Problem

if TYPE_CHECKING:
    import numpy as np

Batch = Sequence[SourcedRow]
"""Rows of one shard, in order; see ``framework.build.data.shards.in_shards``."""


@dataclass(frozen=True)
class Reason:
    """What a rule did to a row, and why."""

    row: SourcedRow
    """The row before, as it may be shown: without what the rule hides."""
    rule: str
    """The rule's name, under which it is counted, such as ``too_short``."""
    text: str
    """Why, in one phrase with the measured value and the limit."""
    result: SourcedRow | None = None
    """The row after, or its first part; None where it was removed."""


@dataclass(frozen=True)
class Removal:
    """A row that ``CorpusClean.decide`` removes, or rewrites by ``CorpusClean.result``."""

    number: int
    """The row's number in the split, from 0."""
    rule: str
    text: str


class Clean(Component, ABC):
    """One cleaning step. Several run in the order in which they are listed, each as a step of its own."""

    changes_nothing: ClassVar[bool] = False
    """True for the option that means no cleaning."""

    needs_tokenizer: ClassVar[bool] = False
    """Whether it counts the model's tokens."""

    seconds_per_row: ClassVar[float] = 1e-4
    """Measured time for a row of some 100 words on one core, for the plan's estimate."""

    max_removed: Annotated[float, UNKEYED, Field(gt=0, le=1)] = 0.5
    """Maximum share of the training rows that it may remove; above it the plan stops, since a setting is
    then more often wrong than the rows. It changes no byte."""
    workers: Annotated[int, UNKEYED, Field(ge=1, le=256)] = 1
    """Processes that share the shards. It changes no byte."""

    def problems(self) -> list[Problem]:
        """Return what is wrong as far as it can be seen without reading rows; keys are of its fields."""
        return []

    def opened(self, rows: Path, tokenizer: Any) -> Self:
        """Return the option with what it must know beforehand, such as the test rows.

        Args:
            rows: the folder of the rows, see ``framework.build.data.shards``.
            tokenizer: the model's; None unless ``needs_tokenizer``.
        """
        return self


class RowClean(Clean):
    """Judges or rewrites each row by itself, or with its neighbors in the batch."""

    @abstractmethod
    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Return the rows that are kept, in order, and a reason for each row removed or rewritten.

        The result depends on the batch alone, so that batches can be spread over processes.
        """

    def for_test_rows(self) -> "RowClean | None":
        """Return what rewrites test rows; None leaves them as they are. It must not remove any."""
        return None


class CorpusClean(Clean):
    """Judges rows by all others: first a few numbers for each row, then one decision over all of them."""

    @abstractmethod
    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return columns with one value for each row of *batch*; they depend on the batch alone."""

    @abstractmethod
    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield the rows to remove, in order, each once.

        Args:
            folder: holds the columns, one Parquet file a shard, with ``number`` (the row's in the split),
                ``file`` and ``line``. Temporary files may be written into it.
        """

    def result(self, source: SourcedRow, removal: Removal) -> SourcedRow | None:
        """Return what stays of a row that ``decide`` names; None, as by default, removes it."""
        return None


class Decides(Protocol):
    """A rule over all rows: a ``CorpusClean``, or a selecting option."""

    @property
    def workers(self) -> int:
        """Processes that share the shards."""

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return columns with one value for each row of *batch*."""

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield the rows to remove, in order, each once."""

    def result(self, source: SourcedRow, removal: Removal) -> SourcedRow | None:
        """Return what stays of a row that ``decide`` names; None removes it."""
