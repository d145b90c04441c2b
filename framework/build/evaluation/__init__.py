"""The base class of every evaluation option: the metrics of a candidate."""

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
    """The base model, for metrics that need more than a candidate's token ids."""

    decode: Callable[[Sequence[int]], str]
    """Decodes token ids to text, without special tokens."""
    open: Callable[[], Engine]
    """Opens the model."""


class Evaluation(Component, ABC):
    """The metrics of a candidate on the held-out rows."""

    rows: Annotated[int, Field(gt=0)] | None = None
    """Evaluate only the first so many held-out rows; None evaluates all."""

    @abstractmethod
    def measure(
        self, engine: Engine, task: str, examples: Sequence[Example], base: Base | None = None
    ) -> dict[str, float]:
        """Return metrics of *engine* on prepared rows.

        Args:
            engine: the candidate, opened.
            task: the task's name.
            examples: the rows.
            base: the base model; needed only for metrics of text, and of changes against it.

        Raises:
            ServeError: the engine lacks a capability that the metrics need.
        """

    @abstractmethod
    def metrics(self, task: str) -> tuple[str, ...]:
        """Return the keys of ``measure`` for *task*, so that a gate can be checked before anything runs."""
