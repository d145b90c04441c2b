"""The base class of everything in a config.

A ``Component`` is a frozen pydantic model. If a field is declared with a group's base class, ``_target_``
in the YAML chooses the concrete class, which must be in ``framework`` or in a package listed under the
config's ``plugins``. This module knows nothing about Hydra.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, to_jsonable_python

from framework.core.docstrings import described_schema

TARGET = "_target_"


class Unkeyed:
    """Marks a field that does not affect any artifact's bytes, as in ``Annotated[int, UNKEYED]``."""


UNKEYED = Unkeyed()


class Component(BaseModel):
    """A frozen, strict part of a config; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe each field by the docstring below it."""
        return described_schema(cls, core, handler)

    @model_validator(mode="wrap")
    @classmethod
    def _choose_class(
        cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if not isinstance(value, Mapping) or TARGET not in value:
            if inspect.isabstract(cls) and not isinstance(value, cls):
                raise PydanticCustomError("no_option", "choose an option of this group")
            return handler(value)
        plugins = (info.context or {}).get("plugins", ())
        chosen = _import_class(value[TARGET], cls, plugins)
        rest = {key: item for key, item in value.items() if key != TARGET}
        if chosen is cls:
            return handler(rest)
        component: Self = chosen.model_validate(rest, context=info.context)
        return component

    def dump(self) -> dict[str, Any]:
        """Return plain JSON data with the class of every nested component under ``_target_``.

        ``Component.model_validate(dump)`` restores an equal object; this is how a step is passed to its
        worker.
        """
        fields = {name: _plain(getattr(self, name)) for name in type(self).model_fields}
        return {TARGET: f"{type(self).__module__}.{type(self).__qualname__}", **fields}

    def changes(self) -> dict[str, Any]:
        """Return ``dump`` without the fields that have their default, here and in nested components.

        It validates to an equal object, also in an earlier version that lacks fields which were added since,
        as long as none of those is set and no default has changed.
        """
        fields = {
            name: _plain(value, "changes")
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.get_default(call_default_factory=True)
        }
        return {TARGET: f"{type(self).__module__}.{type(self).__qualname__}", **fields}

    def spec(self) -> dict[str, Any]:
        """Return ``dump`` without the fields marked ``UNKEYED``: the data that enters a key."""
        keyed = {name: _plain(getattr(self, name), "spec") for name in self.field_names(keyed_only=True)}
        return {TARGET: f"{type(self).__module__}.{type(self).__qualname__}", **keyed}

    def requires(self) -> Mapping[str, str]:
        """Return the optional distributions that it uses, each with the extra that installs it.

        Their versions affect the written bytes, so they enter the keys; see ``uses`` for others. Importing
        the option's module and planning must not need them.
        """
        return {}

    def uses(self) -> Mapping[str, str]:
        """Return further optional distributions that building needs, each with the extra that installs it.

        Their versions affect no byte. A plan needs none of them.
        """
        return {}

    def walk(self, *, keyed_only: bool = False) -> Iterator["Component"]:
        """Yield this component and every component below it, depth first.

        Args:
            keyed_only: leave out those below fields marked ``UNKEYED``.
        """
        yield self
        for name in self.field_names(keyed_only=keyed_only):
            yield from components(getattr(self, name), keyed_only=keyed_only)

    @classmethod
    def field_names(cls, *, keyed_only: bool = False) -> list[str]:
        """Return the names of its fields; *keyed_only* leaves out those marked ``UNKEYED``."""
        return [
            name
            for name, field in cls.model_fields.items()
            if not (keyed_only and any(isinstance(mark, Unkeyed) for mark in field.metadata))
        ]


def components(value: Any, *, keyed_only: bool = False) -> Iterator[Component]:
    """Yield every component in a field's *value*, depth first; see ``Component.walk``."""
    if isinstance(value, Component):
        yield from value.walk(keyed_only=keyed_only)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from components(item, keyed_only=keyed_only)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from components(item, keyed_only=keyed_only)


def _plain(value: Any, form: Literal["dump", "changes", "spec"] = "dump") -> Any:
    """Return *value* as JSON data, components in the *form* of that method."""
    if isinstance(value, Component):
        plain: dict[str, Any] = getattr(value, form)()
        return plain
    if isinstance(value, Mapping):
        return {str(key): _plain(item, form) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, form) for item in value]
    return to_jsonable_python(value)


def _import_class(target: Any, base: type[Component], plugins: tuple[str, ...]) -> type[Any]:
    """Import *target* and check that it is a concrete subclass of *base*.

    Raises:
        PydanticCustomError: it is not allowed, cannot be imported, or has the wrong type.
    """
    allowed = ("framework", *plugins)
    module_name, _, class_name = str(target).rpartition(".")
    if not any(module_name == p or module_name.startswith(f"{p}.") for p in allowed):
        raise PydanticCustomError(
            "target_refused",
            "_target_ '{target}' is outside the allowed packages ({allowed}); "
            "name its package under 'plugins' to allow it",
            {"target": str(target), "allowed": ", ".join(allowed)},
        )
    if plugins and (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # a plugin may be in the working folder; installed packages come first
    try:
        chosen = getattr(import_module(module_name), class_name)
    except Exception as error:  # importing a plugin can fail in any way
        raise PydanticCustomError(
            "target_missing",
            "_target_ '{target}' cannot be imported: {why}",
            {"target": str(target), "why": str(error) or type(error).__name__},
        ) from None
    if not (inspect.isclass(chosen) and issubclass(chosen, base)) or inspect.isabstract(chosen):
        raise PydanticCustomError(
            "target_wrong_kind",
            "_target_ '{target}' is not a {base}",
            {"target": str(target), "base": f"{base.__module__}.{base.__qualname__}"},
        )
    return chosen
