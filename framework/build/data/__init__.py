"""The base class of data options: where rows come from, and the limits that they must keep."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from framework.build.data.size_estimate import UNSEEN, size_of_files
from framework.core.component import UNKEYED, Component
from framework.core.filesystem import files_below
from framework.core.problem import Problem
from framework.core.source import Source
from framework.core.workload import DataSize

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
LossOn = Literal["answers", "last_answer", "all"]
"""The tokens that carry a loss: see ``Data.loss_on``."""


@dataclass(frozen=True)
class Line:
    """A raw row and where it was read; ``problem`` is set if it could not be read."""

    file: str
    number: int
    raw: Any
    problem: str | None = None
    folder: Path | None = None
    """The folder that paths in the row are relative to. None unless the source is a folder: the bytes of
    files beside a single source file do not enter the step's key."""
    ignore: tuple[str, ...] = ()
    """Keys of the row that are not read, beside those of ``Data.ignore``."""


class Data(Component, ABC):
    """Rows for training and for testing."""

    max_length: Annotated[int, Field(ge=8, le=1_048_576)] = 512
    """Maximum tokens of a row, prompt and answer together, after the chat template."""
    too_long: Literal["reject", "truncate"] = "reject"
    """How to treat a longer row: reject it, or truncate it to ``max_length``."""
    max_rejected: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Maximum share of a split's rows rejected in reading and encoding together; above it the plan stops."""
    max_overlap: Annotated[float, Field(ge=0, le=1)] | None = None
    """Maximum share of test rows that are training rows as well; above it the plan stops. None: they are
    counted and named, since metrics of learned rows say nothing about new ones. The same file in both splits
    is refused, except with 1."""
    ignore: tuple[str, ...] = ()
    """Keys of the rows that are not read, such as ``[id, source]``, or ``messages[].id`` for a key of a turn.

    A row's key that is neither used nor named here stops the plan: what it says would not be learned.
    """
    loss_on: LossOn = "answers"
    """What a conversation teaches: all the assistant's turns, only its last one, or every token, prompts too
    (``train_on_inputs`` elsewhere). A turn with ``train: false`` is never learned. Held-out rows are measured
    on answers in any case; documents are learned whole."""

    license: Annotated[str | None, UNKEYED] = None
    """The license of the rows: its SPDX identifier if it has one. None: unknown. It changes no
    byte; the plan judges it, the evidence states it."""

    @abstractmethod
    def read(self, split: Split) -> Iterator[Line]:
        """Yield every line of a split in a fixed order, broken ones with their ``problem``."""

    def problems(self) -> list[Problem]:
        """Return what is wrong as far as it can be seen without reading all rows.

        Keys are those of its fields. Nothing is downloaded.
        """
        return []

    def left_out(self) -> Mapping[str, int]:
        """Return how many rows of its source are in no split on purpose, by reason."""
        return {}

    def when_empty(self, split: Split) -> str:
        """Return what to do where *split* has no rows, for the message."""
        return "add rows to it"

    def guess_size(self) -> DataSize:
        """Guess the rows before any is read: from the local files, else a round number.

        It is for the plan's estimate. Nothing is downloaded, and ``max_length`` is not applied.
        """
        local = [part.fetch() for part in self.walk() if isinstance(part, Source) and part.local]
        files = [file for path in local for file in (files_below(path) if path.is_dir() else [path])]
        return size_of_files(files) if files else UNSEEN
