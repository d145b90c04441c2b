"""The base of every evaluation option: what is measured, and the gates that stop a plan."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component
from framework.engine import Engine
from framework.task import Example


@dataclass(frozen=True)
class Base:
    """The base model, for what a candidate's token ids alone do not tell."""

    decode: Callable[[Sequence[int]], str]
    """From token ids to text, without special tokens."""
    open: Callable[[], Engine]
    """Opens the model itself."""


class Bound(Component):
    """The least and the most that a metric may be."""

    min: float | None = None
    """Least value that passes."""
    max: float | None = None
    """Most value that passes."""

    @model_validator(mode="after")
    def _needs_a_side(self) -> "Bound":
        if self.min is None and self.max is None:
            raise PydanticCustomError("empty_bound", "give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("crossed_bound", "'min' is above 'max', so nothing could pass")
        return self

    def admits(self, value: float) -> bool:
        """Tell whether *value* is inside; a NaN never is."""
        above = self.min is None or value >= self.min
        return above and (self.max is None or value <= self.max) and value == value

    def __str__(self) -> str:
        sides = [f">= {self.min:g}" if self.min is not None else ""]
        sides.append(f"<= {self.max:g}" if self.max is not None else "")
        return " and ".join(side for side in sides if side)


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
