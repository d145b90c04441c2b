"""Base class of the selecting options, which take the best part of the cleaned training rows.

Cleaning removes what is wrong with a row; selecting leaves out rows that are merely worth less than others.
Test rows are never selected.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field

from framework.build.clean import Batch, Removal
from framework.build.data.shards import SourcedRow
from framework.core.component import UNKEYED, Component

if TYPE_CHECKING:
    import numpy as np


class Select(Component, ABC):
    """One selecting step. Several run in the order in which they are listed, after all cleaning."""

    changes_nothing: ClassVar[bool] = False
    """True for the option that takes every row."""

    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks whose rows it can judge; empty for all."""

    seconds_per_row: ClassVar[float] = 1e-4
    """Measured time for a row of some 100 words on one core, for the plan's estimate."""

    workers: Annotated[int, UNKEYED, Field(ge=1, le=256)] = 1
    """Processes that share the shards. It changes no byte."""

    def expected(self, rows: float) -> float:
        """Guess how many of *rows* are taken, for the plan's estimate."""
        return rows

    @abstractmethod
    def opened(self, rows: Path) -> Self:
        """Return the option with what it must know of all *rows*, a folder of shards, beforehand."""

    @abstractmethod
    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return columns with one value for each row of *batch*; they depend on the batch alone."""

    @abstractmethod
    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield the rows to leave out, in order; see ``framework.build.clean.CorpusClean.decide``."""

    def result(self, source: SourcedRow, removal: Removal) -> SourcedRow | None:
        """Return None: a row is taken as it is, or left out."""
        return None
