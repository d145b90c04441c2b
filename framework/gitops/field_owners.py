"""Who owns each field of a live object, as its API server records it in ``metadata.managedFields``.

The format is FieldsV1: ``f:<key>`` for a key of a mapping, ``k:{…}`` for the item of a list with these keys,
``v:<value>`` for a value of a set, ``i:<index>`` for an item by its place, and ``.`` for the item itself. A
field without anything below it is owned as a whole. Changes of admission webhooks and of the server's own
defaulting are not recorded, so nobody owns them.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

_ITSELF = "."


class Manager(NamedTuple):
    """A client that wrote a field."""

    name: str
    operation: str
    """``Apply`` for server-side apply, whose fields are only those that it sent; else ``Update``."""


@dataclass(frozen=True)
class Owners:
    """Who owns one field, and what is below it."""

    above: tuple[Manager, ...] = ()
    """Own a field above, as a whole."""
    here: tuple[Manager, ...] = ()
    """Own this field, as a whole."""
    below: tuple[tuple[Manager, Mapping[str, Any]], ...] = ()
    """Own fields below this one: their FieldsV1."""

    @classmethod
    def of(cls, live: Mapping[str, Any]) -> "Owners | None":
        """Return the owners of the object *live*; None where its API server recorded none."""
        entries = live.get("metadata", {}).get("managedFields") or ()
        recorded = [
            (Manager(str(entry.get("manager", "")), str(entry.get("operation", ""))), entry["fieldsV1"])
            for entry in entries
            if entry.get("fieldsV1")
        ]
        return cls(below=tuple(recorded)) if recorded else None

    @property
    def managers(self) -> list[Manager]:
        """Everyone who owns this field or a part of it, each once."""
        return list(dict.fromkeys((*self.above, *self.here, *(manager for manager, _ in self.below))))

    @property
    def names(self) -> list[str]:
        """The managers' names, each once."""
        return list(dict.fromkeys(manager.name for manager in self.managers))

    @property
    def of_item(self) -> list[Manager]:
        """Who owns this list item itself, so who added it."""
        return [*self.here, *(manager for manager, fields in self.below if _ITSELF in fields)]

    def child(self, key: str) -> "Owners":
        """Return the owners of a mapping's *key*."""
        return self._step(lambda fields: (f"f:{key}",))

    def item(self, value: Any, index: int) -> "Owners":
        """Return the owners of a list's item.

        Args:
            value: the item.
            index: its place in the live list.
        """
        return self._step(lambda fields: (key for key in fields if _selects(key, value, index)))

    def _step(self, keys: Callable[[Mapping[str, Any]], Iterable[str]]) -> "Owners":
        here, below = [], []
        for manager, fields in self.below:
            for key in keys(fields):
                if fields.get(key):
                    below.append((manager, fields[key]))
                elif key in fields:
                    here.append(manager)
        return Owners((*self.above, *self.here), tuple(here), tuple(below))


def _selects(key: str, value: Any, index: int) -> bool:
    """Return whether the FieldsV1 *key* stands for the list item *value*."""
    form, _, text = key.partition(":")
    if form == "i":
        return text == str(index)
    if form not in ("k", "v"):
        return False
    wanted = json.loads(text)
    if form == "v":
        return bool(wanted == value)
    return isinstance(value, Mapping) and all(part in value.items() for part in wanted.items())
