"""The locks of a folder of environments, and whether what they recorded is enough for a place."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from framework.core import gates as bound
from framework.core.errors import ReleaseError
from framework.core.gates import Bound
from framework.core.release import LOCK, Release

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def place(environments: str, environment: str, release: str) -> str:
    """Return the path of a lock, as users see it."""
    return f"{environments}/{environment}/{release}/{LOCK}"


def read_lock(folder: Path, path: str, where: str) -> Release:
    """Return the release of the lock at *path* below *folder*.

    Raises:
        ReleaseError: there is none on *where*, or it was altered.
    """
    file = folder / path
    if not file.is_file():
        root = file.parents[2]
        known = sorted(lock.parent.relative_to(root).as_posix() for lock in root.glob(f"*/*/{LOCK}"))
        raise ReleaseError(f"{path}: no such lock on {where}; there are {', '.join(known) or 'none at all'}")
    release = Release.parse(file.read_text(encoding="utf-8", errors="replace"), path)
    name = file.parent.name
    if release.name != name:
        raise ReleaseError(f"{path}: it is a lock of '{release.name}', not of '{name}'; restore it from Git")
    return release


def digest_of(text: str) -> str:
    """Return the model digest that a lock's text names, even of one that was altered; empty without."""
    try:
        found = str(json.loads(text).get("digest"))
    except (ValueError, AttributeError):
        found = ""
    return found if _DIGEST.fullmatch(found) else ""


def short(digest: str) -> str:
    """Return the twelve hex digits that a digest is called by."""
    return digest.removeprefix("sha256:")[:12]


def source(release: Release, digits: int = 40) -> str:
    """Return the commit that *release* was built from, and whether that is all that it was built from."""
    if not release.commit:
        return "files outside of Git"
    commit, _, changed = release.commit.partition("-")
    return commit[:digits] + (" with uncommitted changes" if changed else "")


def unmet(gates: Mapping[str, Mapping[str, float | None]], release: Release) -> list[str]:
    """Return a sentence for each bound that the release's recorded metrics do not meet.

    Args:
        gates: an environment's bounds by metric; a name without a candidate is the tuned model's.
        release: whose metrics are judged.
    """
    bounds = {name: Bound.model_validate(dict(sides)) for name, sides in gates.items()}
    return bound.unmet(bounds, release.metrics)


def words_of(release: Release, environment: str, environments: str) -> tuple[str, ...]:
    """Return what would be typed after ``run`` to render *release* in *environment*."""
    recipe = () if release.recipe == "(none)" else (f"+recipe={release.recipe}",)
    return (
        *recipe,
        f"environment={environment}",
        f"name={release.name}",
        f"environments={environments}",
    )
