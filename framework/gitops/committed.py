"""Whether a commit alone gives a release, and what a proposal says of one that no commit gives."""

from dataclasses import dataclass

from framework.core.errors import ReleaseError
from framework.core.release import NO_RECIPE, Release, built_from
from framework.gitops.arguments import choice

SOURCE = "committed"
"""The default of ``source=``, with which only releases that a commit gives are proposed."""


@dataclass(frozen=True)
class Mark:
    """What the commit message says of the release's source."""

    subject: str = ""
    """What follows the subject."""
    body: str = ""
    """A line of the body."""
    source: str = ""
    """The value of the trailer ``Gitune-Source``; empty if a commit gives the release."""


def source_choice(value: str) -> bool:
    """Return whether releases that no commit gives are proposed too.

    Raises:
        ConfigError: *value* is not one of the choices.
    """
    return choice("source", value, (SOURCE, "any")) == "any"


def committed(release: Release, path: str, takes_any: bool) -> Mark:
    """Return how a proposal of *release* is marked.

    A lock of an earlier version does not record its overrides; it is marked, and not refused.

    Args:
        release: the release of the lock.
        path: the lock's path.
        takes_any: whether the caller chose ``source=any``.

    Raises:
        ReleaseError: its commit's recipe does not give it, and the caller did not choose that.
    """
    if release.given:
        return Mark()
    if release.given is None:
        return Mark(
            body="The lock does not record its overrides; `run verify` compares it with its commit.\n"
        )
    if not takes_any:
        raise ReleaseError(f"{path}: {_reason(release)}; {_fix(release)}, or mark it as such with source=any")
    mark = "Not reproducible from a commit alone: " + _reason(release) + ".\n"
    return Mark(", not from a commit alone", mark, "any")


def _reason(release: Release) -> str:
    if release.commit is None:
        return "built outside of Git, so no commit gives it"
    return f"built from {built_from(release, 12)}, which that commit alone does not give"


def _fix(release: Release) -> str:
    recipe = f"recipes/{release.recipe}.yaml" if release.recipe != NO_RECIPE else "a recipe"
    edit = f"write the overrides into {recipe}, " if release.overrides else ""
    return f"{edit}commit what it is built from and run again (finished steps are not built again)"
