"""Compare an object in a cluster with the rendered one, field by field.

Only fields that Git sets are compared. Defaults that an API server fills in and fields that a controller
owns are not drift. It uses neither a cluster's client nor Git.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework.gitops.managed_fields import is_owned, without_rollout_routes
from framework.manifests.values import amount

_QUANTITIES = re.compile(r".*\.(?:requests|limits)\.[\w./-]+|.*\.(?:sizeLimit|averageValue|storage)")
_ABSENT = "nothing"
_WIDE = 120


@dataclass(frozen=True)
class Drift:
    """One field that differs."""

    path: str
    git: str
    cluster: str

    def __str__(self) -> str:
        return f"{self.path}: Git has {self.git}, the cluster {self.cluster}"


def drift(git: Mapping[str, Any], live: Mapping[str, Any]) -> list[Drift]:
    """Return every field of *git* whose value in *live* differs.

    Args:
        git: the rendered object.
        live: the same object as an API server returns it.
    """
    kind = str(git.get("kind"))
    body = {key: item for key, item in git.items() if key not in ("apiVersion", "kind")}
    return [field for field in _compare(body, live, "", kind) if not is_owned(kind, field.path)]


def _compare(git: Any, live: Any, path: str, kind: str) -> list[Drift]:
    if isinstance(git, Mapping) and isinstance(live, Mapping):
        return [
            field
            for key, item in git.items()
            for field in _compare(item, live.get(key), f"{path}.{key}" if path else str(key), kind)
        ]
    if isinstance(git, list) and isinstance(live, list):
        return _compare_lists(git, without_rollout_routes(kind, path, live), path, kind)
    if git == live or (live is None and git in (None, "", [], {})) or _same_quantity(git, live, path):
        return []
    return [Drift(path, _short(git), _short(live))]


def _compare_lists(git: list[Any], live: list[Any], path: str, kind: str) -> list[Drift]:
    """Compare item by item: matched by name if all items have one, else by index."""
    key = next(
        (key for key in ("name", "mountPath", "type") if _is_key(key, git) and _is_key(key, live)), None
    )
    if key is None:
        indexes = range(max(len(git), len(live)))
        pairs = [(str(index), _at(git, index), _at(live, index)) for index in indexes]
    else:
        rendered, present = ({str(item[key]): item for item in items} for items in (git, live))
        pairs = [(name, rendered.get(name), present.get(name)) for name in {**rendered, **present}]
    drifts: list[Drift] = []
    for name, wanted, actual in pairs:
        item_path = f"{path}[{name}]"
        if wanted is None or actual is None:
            drifts.append(Drift(item_path, _short(wanted), _short(actual)))
        else:
            drifts += _compare(wanted, actual, item_path, kind)
    return drifts


def _is_key(key: str, items: list[Any]) -> bool:
    names = [item.get(key) if isinstance(item, Mapping) else None for item in items]
    return None not in names and len({*map(str, names)}) == len(names)


def _at(items: list[Any], index: int) -> Any:
    return items[index] if index < len(items) else None


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
