"""Gates: lower and upper bounds of metrics, set by a recipe or an environment.

It does not know which metrics exist.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from framework.core.component import Component


class Bound(Component):
    """The range that a metric must be in."""

    min: float | None = None
    """Lowest value that passes."""
    max: float | None = None
    """Highest value that passes."""

    @model_validator(mode="after")
    def _needs_a_side(self) -> "Bound":
        if self.min is None and self.max is None:
            raise PydanticCustomError("empty_bound", "give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError("crossed_bound", "'min' is above 'max', so no value can pass")
        return self

    def admits(self, value: float) -> bool:
        """Return whether *value* is in range; NaN never is."""
        above = self.min is None or value >= self.min
        return above and (self.max is None or value <= self.max) and value == value

    def __str__(self) -> str:
        sides = [f">= {self.min:g}" if self.min is not None else ""]
        sides.append(f"<= {self.max:g}" if self.max is not None else "")
        return " and ".join(side for side in sides if side)


def _flat(gates: Any) -> Any:
    """Flatten ``gates.int4.exact_match.min=0.5``: a command line cannot pass a key that contains a dot."""
    if not isinstance(gates, dict):
        return gates
    flat: dict[str, Any] = {}
    for name, bound in gates.items():
        nested = isinstance(bound, dict) and bound and all(isinstance(item, dict) for item in bound.values())
        bounds = {f"{name}.{metric}": item for metric, item in bound.items()} if nested else {name: bound}
        for key, item in bounds.items():
            both = isinstance(item, dict) and isinstance(flat.get(key), dict)
            flat[key] = {**flat[key], **item} if both else item
    return flat


Gates = Annotated[dict[str, Bound], BeforeValidator(_flat)]
"""Bounds by metric: ``exact_match``, or ``int4.exact_match``, which can also be written as ``exact_match``
below ``int4``."""


def unmet(gates: Mapping[str, Bound], metrics: Mapping[str, float]) -> list[str]:
    """Return one message for each bound that the metrics do not meet.

    Args:
        gates: bounds by metric, with or without a candidate; see ``flat_metric``.
        metrics: values by flat name, as a release records them: ``<candidate>.<metric>``.
    """
    messages = []
    for name, bound in sorted(gates.items()):
        metric = flat_metric(name)
        value = metrics.get(metric)
        if value is None:
            messages.append(f"{metric} was not measured, the gate requires {bound}")
        elif not bound.admits(value):
            messages.append(f"{metric} is {value:g}, the gate requires {bound}")
    return messages


def flat_metric(name: str) -> str:
    """Return a gate's metric as ``<candidate>.<metric>``; without a candidate it is the tuned model's.

    >>> flat_metric("exact_match"), flat_metric("int4.exact_match")
    ('tuned.exact_match', 'int4.exact_match')
    """
    return name if "." in name else f"tuned.{name}"
