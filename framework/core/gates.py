"""Bounds of metrics: what a gate of a recipe or of an environment asks for.

It does not know which metrics there are.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component


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


def _flat(gates: Any) -> Any:
    """Take ``gates.int4.exact_match.min=0.5`` too: a command line cannot give a key with a dot."""
    if not isinstance(gates, dict):
        return gates
    flat: dict[str, Any] = {}
    for name, bound in gates.items():
        below = isinstance(bound, dict) and bound and all(isinstance(item, dict) for item in bound.values())
        found = {f"{name}.{metric}": item for metric, item in bound.items()} if below else {name: bound}
        for key, item in found.items():
            both = isinstance(item, dict) and isinstance(flat.get(key), dict)
            flat[key] = {**flat[key], **item} if both else item
    return flat


Gates = Annotated[dict[str, Bound], BeforeValidator(_flat)]
"""Bounds by metric: ``exact_match``, or ``int4.exact_match``, which may also stand as ``exact_match`` below
``int4``."""


def unmet(gates: Mapping[str, Bound], metrics: Mapping[str, float]) -> list[str]:
    """Return a sentence for each bound that recorded metrics do not meet.

    Args:
        gates: bounds by metric; a name without a candidate is the tuned model's.
        metrics: flat, as a release has them: ``<candidate>.<metric>``.
    """
    found = []
    for name, bound in sorted(gates.items()):
        flat = name if "." in name else f"tuned.{name}"
        value = metrics.get(flat)
        if value is None:
            found.append(f"{flat} was not measured, the gate asks for {bound}")
        elif not bound.admits(value):
            found.append(f"{flat} is {value:g}, the gate asks for {bound}")
    return found
