"""Which class validates the mapping at a path of a config, and what its fields accept."""

import inspect
import sys
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from framework.core.component import TARGET, Component
from framework.core.gates import Bound


def owner(root: type[Component], raw: Any, path: Iterable[int | str]) -> type[Component] | None:
    """Return the class that validates the mapping at *path* of *raw*, or None for a plain mapping."""
    component: type[Component] | None = root
    named = False  # whether the keys at this place are names that the recipe chooses, such as those of phases
    for key in path:
        annotation = None
        if component is not None and key in component.model_fields and not named:
            annotation = component.model_fields[str(key)].annotation
            component = None
        elif isinstance(raw, Mapping) and key in raw and not named:
            component = None  # an unknown key
        # A metric's bound may be below the name of its candidate.
        named = get_origin(annotation) is dict or (named and component is Bound)
        if isinstance(raw, Mapping):
            raw = raw.get(key)
        elif isinstance(raw, list) and isinstance(key, int) and key < len(raw):
            raw = raw[key]
        if isinstance(raw, Mapping) and TARGET in raw:
            component = imported(str(raw[TARGET]))
        elif annotation is not None:
            component = component_in(annotation)
    return component


def field(component: type[Component] | None, dotted: str) -> FieldInfo | None:
    """Return the field of *component* at a *dotted* key such as ``validation.share``, or None."""
    found = None
    for key in dotted.split("."):
        found = component.model_fields.get(key) if component is not None else None
        if found is None:
            return None
        component = component_in(found.annotation)
    return found


def choices(annotation: Any) -> list[Any]:
    """Return the values of an *annotation* that accepts nothing else; none for another type."""
    if annotation is bool:
        return [True, False]
    members = [annotation] if get_origin(annotation) is Literal else get_args(annotation)
    members = [member for member in members if member is not type(None)]
    if not members or any(get_origin(member) is not Literal for member in members):
        return []
    return [value for member in members for value in get_args(member)]


def members(annotation: Any) -> list[Any]:
    """Return the types of a union without None; none for an *annotation* that is no union of several."""
    found = [member for member in get_args(annotation) if member is not type(None)]
    is_union = get_origin(annotation) in (Union, UnionType)
    return found if is_union and len(found) > 1 else []


def in_words(annotation: Any, bounds: Iterable[Any] = ()) -> str:
    """Return what a member of a union accepts, such as ``an integer of at least 1``."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return in_words(inner, [bound for mark in marks for bound in getattr(mark, "metadata", [mark])])
    if values := choices(annotation) or (get_args(annotation) if get_origin(annotation) is Literal else ()):
        return " or ".join("true" if v is True else "false" if v is False else repr(v) for v in values)
    least = next(
        (f" of at least {bound.ge}" for bound in bounds if getattr(bound, "ge", None) is not None), ""
    )
    names = {int: "an integer", float: "a number", str: "text"}
    if annotation in names:
        return names[annotation] + least
    return "a mapping" if component_in(annotation) and get_origin(annotation) is not tuple else "a list"


def component_in(annotation: Any) -> type[Component] | None:
    """Return the class of the mapping that *annotation* accepts, or None."""
    if inspect.isclass(annotation) and issubclass(annotation, Component):
        return annotation
    for argument in get_args(annotation):
        if component := component_in(argument):
            return component
    return None


def imported(target: str) -> type[Component] | None:
    """Return the class *target* if validation imported it; nothing is imported for a message."""
    module, _, name = target.rpartition(".")
    cls = getattr(sys.modules.get(module), name, None)
    return cls if inspect.isclass(cls) and issubclass(cls, Component) else None
