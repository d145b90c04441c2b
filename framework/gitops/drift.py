"""Where an object in a cluster is not what Git says, field by field.

Only fields that Git sets are compared: what an API server fills in is nobody's drift, and neither is what a
controller owns by design. It knows no client and no Git.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framework.gitops.managed_fields import is_owned, ours
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
    """Return every field of *git* that *live* has otherwise.

    Args:
        git: an object as it was rendered.
        live: the same object as an API server returns it.
    """
    body = {key: item for key, item in git.items() if key not in ("apiVersion", "kind")}
    found = _compare(body, live, "", str(git.get("kind")))
    return [each for each in found if not is_owned(str(git.get("kind")), each.path)]


def _compare(git: Any, live: Any, path: str, kind: str) -> list[Drift]:
    if isinstance(git, Mapping) and isinstance(live, Mapping):
        return [
            each
            for key, item in git.items()
            for each in _compare(item, live.get(key), f"{path}.{key}" if path else str(key), kind)
        ]
    if isinstance(git, list) and isinstance(live, list):
        return _compare_lists(git, ours(kind, path, live), path, kind)
    if git == live or (live is None and git in (None, "", [], {})) or _same_quantity(git, live, path):
        return []
    return [Drift(path, _short(git), _short(live))]


def _compare_lists(git: list[Any], live: list[Any], path: str, kind: str) -> list[Drift]:
    """Compare item by item: by what names them where all have a name, else by place."""
    key = next(
        (key for key in ("name", "mountPath", "type") if _is_key(key, git) and _is_key(key, live)), None
    )
    if key is None:
        places = range(max(len(git), len(live)))
        pairs = [(str(place), _at(git, place), _at(live, place)) for place in places]
    else:
        known, there = ({str(item[key]): item for item in items} for items in (git, live))
        pairs = [(name, known.get(name), there.get(name)) for name in {**known, **there}]
    found: list[Drift] = []
    for name, one, other in pairs:
        where = f"{path}[{name}]"
        if one is None or other is None:
            found.append(Drift(where, _short(one), _short(other)))
        else:
            found += _compare(one, other, where, kind)
    return found


def _is_key(key: str, items: list[Any]) -> bool:
    names = [item.get(key) if isinstance(item, Mapping) else None for item in items]
    return None not in names and len({*map(str, names)}) == len(names)


def _at(items: list[Any], place: int) -> Any:
    return items[place] if place < len(items) else None


def _same_quantity(git: Any, live: Any, path: str) -> bool:
    """Tell whether both are one amount: an API server writes ``0.5`` as ``500m``."""
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
