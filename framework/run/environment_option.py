"""What an environment's option says without a recipe: where releases go, who signs them, what they must meet.

A recipe belongs to a release, and the option to the environment. So a recipe can tighten the option's bounds,
and set what concerns its own pods, but neither loosen nor redirect the environment.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from framework.config.compose_config import composed
from framework.config.composition import Composition
from framework.config.load import resolved
from framework.config.options import option_file
from framework.config.provenance import Places
from framework.core.errors import ConfigError, invalid_config
from framework.core.gates import Bound, Gates
from framework.core.problem import Problem
from framework.core.release import Release
from framework.delivery.environment import RECIPE_KEYS, TIGHTER

_GROUP = "environment"


def environment_option(name: str | None) -> dict[str, Any]:
    """Return the option *name* as plain data; empty if no option is chosen."""
    if not name:
        return {}
    option = resolved(composed([f"{_GROUP}={name}"]))[0].get(_GROUP)
    return option if isinstance(option, dict) else {}


def require_own_environment(composition: Composition) -> None:
    """Refuse keys of the environment that a recipe sets and only the environment's option decides.

    What is typed on the command line counts for this machine only: Git's verbs do not pass it on.

    Raises:
        ConfigError: names each such key with its file and line.
    """
    name = composition.choices.get(_GROUP)
    if not name:
        return
    own_file = option_file(_GROUP, name)
    touched = any(
        _GROUP in file.content if not package else package[0] == _GROUP and file.path != own_file
        for package, file in composition.files
    )
    if not touched:
        return
    # Without interpolations replaced: an option may refer to the release's name.
    asked, own = (config.config.get(_GROUP) or {} for config in (composition, composed([f"{_GROUP}={name}"])))
    places = Places(composition)
    problems, lines = [], []
    for key, value in asked.items():
        place = places.of((_GROUP, key))
        if key in RECIPE_KEYS or value == own.get(key) or _is_tighter(key, value) or place.typed:
            continue
        problem = Problem(
            f"{_GROUP}.{key}",
            "a recipe cannot set this, since only the environment's option decides it",
            advice=f"remove it, or set it in conf/{_GROUP}/{name}.yaml",
        )
        problems.append(problem)
        lines.append(problem.at(place.text))
    if problems:
        raise invalid_config(problems, lines)


def _is_tighter(key: str, value: Any) -> bool:
    return key in TIGHTER and value is TIGHTER[key]


def merged_bounds(
    release: Release, gates: Mapping[str, Bound], option: Mapping[str, Any]
) -> dict[str, Bound]:
    """Return the bounds of *release* that meet both *gates* and those of the environment's *option*.

    Args:
        release: the release, whose candidate bare metrics bind.
        gates: the environment's bounds with those of the recipe.
        option: the environment's option as plain data.

    Raises:
        ConfigError: no value can meet both.
    """
    own = TypeAdapter(Gates).validate_python(option.get("gates") or {})
    both = (release.bounds(gates), release.bounds(own))
    bounds: dict[str, Bound] = {}
    for name in sorted({*both[0], *both[1]}):
        sides = [side[name] for side in both if name in side]
        least = max((side.min for side in sides if side.min is not None), default=None)
        most = min((side.max for side in sides if side.max is not None), default=None)
        if least is not None and most is not None and least > most:
            raise ConfigError(
                f"environment.gates.{name}: the recipe requires {sides[0]} and the environment's option "
                f"{sides[1]}, so no value can pass; correct one of them"
            )
        bounds[name] = Bound(min=least, max=most)
    return bounds
