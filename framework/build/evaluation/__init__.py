"""The base of every evaluation option: what is measured."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from framework.build.engine import Engine
from framework.build.task import Example
from framework.core.component import Component


@dataclass(frozen=True)
class Base:
    """The base model, for what a candidate's token ids alone do not tell."""

    decode: Callable[[Sequence[int]], str]
    """From token ids to text, without special tokens."""
    open: Callable[[], Engine]
    """Opens the model itself."""


class Evaluation(Component, ABC):
    """What is measured on the held-out rows."""

    rows: Annotated[int, Field(gt=0)] | None = None
    """Only the first so many held-out rows; None takes all."""

    @abstractmethod
    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Return metrics of *engine* on prepared rows; *base* is needed for those of text alone."""

    @abstractmethod
    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the names that ``measure`` gives for *task*, so that a gate can be checked early."""
