"""Gates: lower and upper bounds of metrics, set by a recipe or an environment.

A gate names a candidate (``int4.exact_match``), or none: then it is bare (``exact_match``), and the caller
says which candidates it binds. It does not know which metrics or candidates exist.
"""

from collections.abc import Callable, Iterable, Mapping
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
"""Bounds by metric: bare, such as ``exact_match``, or of one candidate, ``int4.exact_match``, which can also
be written as ``exact_match`` below ``int4``."""


def is_bare(name: str) -> bool:
    """Return whether a gate names no candidate.

    >>> is_bare("exact_match"), is_bare("int4.exact_match")
    (True, False)
    """
    return "." not in name


def bind(gates: Mapping[str, Bound], candidates_of: Callable[[str], Iterable[str]]) -> dict[str, Bound]:
    """Return *gates* by flat name, ``<candidate>.<metric>``.

    Args:
        gates: bounds by metric. That of a named candidate replaces the bare one for this candidate.
        candidates_of: returns the candidates that a bare metric binds.

    >>> half, most = Bound(min=0.5), Bound(min=0.9)
    >>> bound = bind({"int4.f1": half, "f1": most}, lambda metric: ["tuned", "int4"])
    >>> {name: str(side) for name, side in bound.items()}
    {'tuned.f1': '>= 0.9', 'int4.f1': '>= 0.5'}
    """
    bare = {
        f"{candidate}.{name}": bound
        for name, bound in gates.items()
        if is_bare(name)
        for candidate in candidates_of(name)
    }
    return bare | {name: bound for name, bound in gates.items() if not is_bare(name)}


def unmet(bounds: Mapping[str, Bound], metrics: Mapping[str, float]) -> list[str]:
    """Return one message for each bound that the metrics do not meet.

    Args:
        bounds: bounds by flat name; see ``bind``.
        metrics: values by flat name, as a release records them.
    """
    messages = []
    for name, bound in sorted(bounds.items()):
        value = metrics.get(name)
        if value is None:
            messages.append(f"{name} was not measured, the gate requires {bound}")
        elif not bound.admits(value):
            messages.append(f"{name} is {value:g}, the gate requires {bound}")
    return messages
