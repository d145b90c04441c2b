"""Which steps earlier runs of a recipe had, so that a plan can say what changed since.

Below the store's root is a file for each name, ``history/<name>.json``: the keys of the last runs by label,
newest first. It is written when a run starts, so that it has the steps of a run that failed. It does not know
which of them are built.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from framework.core.filesystem import write_whole
from framework.core.release import NO_RECIPE
from framework.core.step import Step

FOLDER = "history"
_RUNS = 8
"""How many different keys are kept for a label."""

History = Mapping[str, Sequence[str]]
"""The keys of a step in earlier runs by its label, newest first."""


def name_of(recipe: str, release: str) -> str:
    """Return the name of the history of a recipe, or of a release without one."""
    return f"name/{release}" if recipe == NO_RECIPE else f"recipe/{recipe}"


def remember(store: Path, name: str, steps: Iterable[Step]) -> None:
    """Add *steps* to the history *name* below the folder *store*."""
    earlier = read(store, name)
    keys = {
        step.label: [step.key, *(key for key in earlier.get(step.label, ()) if key != step.key)][:_RUNS]
        for step in steps
    }
    # Only an explanation depends on it. If the store cannot be written, the build says so.
    with contextlib.suppress(OSError):
        write_whole(_file(store, name), json.dumps({**earlier, **keys}, indent=1, sort_keys=True))


def read(store: Path, name: str) -> History:
    """Return the history *name* below the folder *store*; empty if there is none."""
    try:
        history: History = json.loads(_file(store, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return history


def _file(store: Path, name: str) -> Path:
    return store / FOLDER / f"{name}.json"
