"""Compare an object in a cluster with the rendered one, field by field.

A field that Git sets is drift if its value differs. A field that Git does not set is drift if somebody owns
it: neither a controller whose field it is, nor the API server, whose defaults nobody owns. It uses neither a
cluster's client nor Git.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from framework.gitops.field_owners import Manager, Owners
from framework.gitops.managed_fields import (
    GITOPS,
    is_added_route,
    is_controllers,
    is_default,
    is_tracking,
    selects,
    strangers,
)
from framework.manifests.values import amount

Allowed = Mapping[str, Sequence[str]]
_QUANTITIES = re.compile(r".*\.(?:requests|limits)\.[\w./-]+|.*\.(?:sizeLimit|averageValue|storage)")
_ABSENT = "nothing"
_KEYS = ("name", "mountPath", "type")
"""Keys by which the items of a list are matched, where each item has one of its own."""
_WIDE = 120


@dataclass(frozen=True)
class Drift:
    """One field that differs."""

    path: str
    git: str
    cluster: str
    managers: tuple[str, ...] = ()
    """Who wrote the cluster's value; empty if it is unknown or the field is gone."""

    def __str__(self) -> str:
        by = f", set by {' and '.join(self.managers)}" if self.managers else ""
        return f"{self.path}: Git has {self.git}, the cluster {self.cluster}{by}"


def drift(
    git: Mapping[str, Any], live: Mapping[str, Any], allowed: Allowed = MappingProxyType({})
) -> list[Drift]:
    """Return every field in which *live* differs from *git*.

    Args:
        git: the rendered object.
        live: the same object as an API server returns it.
        allowed: the fields, as jq paths, that other controllers may add, by the controller's name.
    """
    owners = Owners.of(live)
    ours, theirs = (
        {key: item for key, item in body.items() if key not in ("apiVersion", "kind", "status")}
        for body in (git, live)
    )
    differences = _Comparison(str(git.get("kind")), allowed).mappings(ours, theirs, "", owners or Owners())
    if owners is None:
        unknown = Drift("metadata.managedFields", _ABSENT, "no record of who wrote its fields")
        return [*differences, unknown]
    return differences


@dataclass(frozen=True)
class _Comparison:
    """Compares one object of a kind."""

    kind: str
    allowed: Allowed

    def values(self, git: Any, live: Any, path: str, owners: Owners) -> list[Drift]:
        """Return how the value of a field that Git sets differs."""
        if isinstance(git, Mapping) and isinstance(live, Mapping):
            return self.mappings(git, live, path, owners)
        if isinstance(git, list) and isinstance(live, list):
            return self._lists(git, live, path, owners)
        if git == live or (live is None and git in (None, "", [], {})) or _same_quantity(git, live, path):
            return []
        if is_controllers(self.kind, path) and not strangers(self.kind, path, owners.names):
            return []
        managers = () if live is None else tuple(owners.names)
        return [Drift(path, _short(git), _short(live), managers)]

    def mappings(
        self, git: Mapping[str, Any], live: Mapping[str, Any], path: str, owners: Owners
    ) -> list[Drift]:
        """Return how the keys of a mapping differ, those of *git* first."""
        differences = []
        for key in (*git, *(key for key in live if key not in git)):
            place, below = f"{path}.{key}" if path else str(key), owners.child(str(key))
            if key in git:
                differences += self.values(git[key], live.get(key), place, below)
            else:
                differences += self._added(live[key], place, below)
        return differences

    def _lists(self, git: list[Any], live: list[Any], path: str, owners: Owners) -> list[Drift]:
        """Compare item by item: matched by name if all items have one, else by index."""
        present = [
            (item, owners.item(item, index))
            for index, item in enumerate(live)
            if item in git or not is_added_route(self.kind, path, item, owners.names)
        ]
        key = _shared_key(git, [item for item, _ in present])
        ours = {_label(item, index, key): item for index, item in enumerate(git)}
        theirs = {_label(item, index, key): (item, own) for index, (item, own) in enumerate(present)}
        differences: list[Drift] = []
        for label in {**ours, **theirs}:
            place, (item, below) = f"{path}[{label}]", theirs.get(label, (None, Owners()))
            if label in ours and label in theirs:
                differences += self.values(ours[label], item, place, below)
            else:
                managers = tuple(below.names)
                if label in ours or not managers or self._foreign(place, managers):
                    differences.append(Drift(place, _short(ours.get(label)), _short(item), managers))
        return differences

    def _added(self, live: Any, path: str, owners: Owners) -> list[Drift]:
        """Return what *live*, which Git does not set, contains and somebody else owns."""
        if is_default(path, live):
            return []
        if owners.below and isinstance(live, Mapping):
            parts = [(f"{path}.{key}", item, owners.child(str(key))) for key, item in live.items()]
        elif owners.below and isinstance(live, list):
            key = _shared_key(live, live)
            labels = [
                _label(item, index, key) if isinstance(item, Mapping) else item
                for index, item in enumerate(live)
            ]
            parts = [
                (f"{path}[{label}]", item, owners.item(item, index))
                for index, (label, item) in enumerate(zip(labels, live, strict=True))
            ]
        else:
            managers = self._unwanted(path, owners.here, owners.above)
            return [Drift(path, _ABSENT, _short(live), tuple(managers))] if managers else []
        return [difference for part in parts for difference in self._added_part(*part)]

    def _added_part(self, path: str, live: Any, owners: Owners) -> list[Drift]:
        """Return the same for a key or an item of what Git does not set; a foreign item is one difference."""
        managers = self._unwanted(path, owners.of_item)
        if managers and isinstance(live, Mapping) and path.endswith("]"):
            return [Drift(path, _ABSENT, _short(live), tuple(managers))]
        return self._added(live, path, owners)

    def _unwanted(self, path: str, owners: Sequence[Manager], above: Sequence[Manager] = ()) -> list[str]:
        """Return who owns the field at *path*, which Git does not set, and may not.

        What Argo CD applied as a whole may contain defaults. What it applied by itself was in Git once.
        """
        former = [
            manager.name
            for manager in owners
            if manager.name in GITOPS and manager.operation == "Apply" and not is_tracking(path)
        ]
        foreign = strangers(self.kind, path, [manager.name for manager in (*above, *owners)])
        return list(dict.fromkeys([*former, *self._foreign(path, foreign)]))

    def _foreign(self, path: str, managers: Sequence[str]) -> list[str]:
        """Return which of *managers* the environment does not allow to add the field at *path*."""
        return [name for name in managers if not selects(self.allowed.get(name, ()), path)]


def _shared_key(git: Sequence[Any], live: Sequence[Any]) -> str | None:
    """Return the key that names every item of *git*; items of *live* may lack it, but not share it."""
    for key in _KEYS:
        ours, theirs = ([_name(item, key) for item in items] for items in (git, live))
        named = [name for name in theirs if name is not None]
        if None not in ours and any(named) and all(len({*names}) == len(names) for names in (ours, named)):
            return key
    return None


def _name(item: Any, key: str) -> str | None:
    return str(item[key]) if isinstance(item, Mapping) and item.get(key) is not None else None


def _label(item: Any, index: int, key: str | None) -> str:
    name = None if key is None else _name(item, key)
    return str(index) if name is None else name


def _same_quantity(git: Any, live: Any, path: str) -> bool:
    """Return whether both are the same quantity: an API server writes ``0.5`` as ``500m``."""
    if not _QUANTITIES.fullmatch(path):
        return False
    try:
        return amount(str(git)) == amount(str(live))
    except (ArithmeticError, KeyError):
        return False


def _short(value: Any) -> str:
    if value is None:
        return _ABSENT
    text = repr(value) if not isinstance(value, str) else f"'{value}'"
    return text if len(text) <= _WIDE else f"{text[:_WIDE]}…"
