"""Read the release locks below ``environments/`` and check their metrics against an environment's gates."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from framework.core.errors import ReleaseError
from framework.core.gates import Bound, unmet
from framework.core.release import LOCK, Release
from framework.gitops.arguments import require_no_link
from framework.run.build_origin import recipe_words

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_OF_ENVIRONMENT = re.compile(r"[+~]*environment\b")


def lock_path(environments: str, environment: str, release: str) -> str:
    """Return the path of a release's lock, relative to the working folder."""
    return f"{environments}/{environment}/{release}/{LOCK}"


def read_lock(folder: Path, path: str, where: str) -> Release:
    """Return the release of the lock at *path* below *folder*.

    Args:
        folder: a checkout.
        path: the lock, relative to *folder*.
        where: what *folder* is a checkout of, for the message.

    Raises:
        ReleaseError: there is no lock, or it was edited.
        ConfigError: the path leads through a link.
    """
    require_no_link(folder, PurePosixPath(path))
    file = folder / path
    if not file.is_file():
        root = file.parents[2]
        locks = sorted(lock.parent.relative_to(root).as_posix() for lock in root.glob(f"*/*/{LOCK}"))
        raise ReleaseError(f"{path}: no such lock on {where}; there are {', '.join(locks) or 'none'}")
    release = Release.parse(file.read_text(encoding="utf-8", errors="replace"), path)
    name = file.parent.name
    if release.name != name:
        raise ReleaseError(
            f"{path}: this is the lock of '{release.name}', not of '{name}'; restore it from Git"
        )
    return release


def digest_of(text: str) -> str:
    """Return the model digest that a lock's text names, even if it was edited; empty if there is none."""
    try:
        digest = str(json.loads(text).get("digest"))
    except (ValueError, AttributeError):
        return ""
    return digest if _DIGEST.fullmatch(digest) else ""


def short_digest(digest: str) -> str:
    """Return the first twelve hex digits of *digest*."""
    return digest.removeprefix("sha256:")[:12]


def missed_gates(gates: Mapping[str, Mapping[str, float | None]], release: Release) -> list[str]:
    """Return one message for each bound that the release's recorded metrics do not meet.

    Args:
        gates: an environment's bounds by metric, as plain data.
        release: the release whose metrics are checked.
    """
    return unmet(bounds_of(gates, release), release.metrics)


def bounds_of(gates: Mapping[str, Mapping[str, float | None]], release: Release) -> dict[str, Bound]:
    """Return an environment's bounds of *release* by flat metric name; see ``missed_gates``."""
    return release.bounds({name: Bound.model_validate(dict(sides)) for name, sides in gates.items()})


def render_arguments(release: Release, environment: str, environments: str) -> tuple[str, ...]:
    """Return the arguments of ``run`` that render *release* in *environment*.

    Its overrides are among them, but not those of the environment that it was built for: an environment's
    gates, sizes and addresses are its own.
    """
    own = [word for word in release.overrides or () if not _OF_ENVIRONMENT.match(word)]
    words = recipe_words(release.recipe, release.name, environment)
    return (*words, *own, f"environments={environments}")
