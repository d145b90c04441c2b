"""Whether a commit alone gives a release, and what a proposal says of one whose source is not proved."""

import sys
from dataclasses import dataclass

from framework.core.errors import GitError, ReleaseError
from framework.core.git import on_remote
from framework.core.release import NO_RECIPE, Release, built_from
from framework.gitops.arguments import choice
from framework.gitops.commit import Target

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

    def also(self, other: "Mark") -> "Mark":
        """Return what is said if both are."""
        return Mark(self.subject + other.subject, self.body + other.body, self.source or other.source)


def source_choice(value: str) -> bool:
    """Return whether releases that no commit gives are proposed too.

    Raises:
        ConfigError: *value* is not one of the choices.
    """
    return choice("source", value, (SOURCE, "any")) == "any"


def lacks_commit(target: Target, release: Release) -> str:
    """Return the target's remote if no branch of it, as last fetched, has the release's commit; else empty.

    What only this clone has can be amended or dropped, and no one else can check it.

    Raises:
        GitError: the clone is shallow and does not have the commit, so that this is unknown.
    """
    repository = target.repository
    if target.remote is None or not release.full_commit:
        return ""
    if on_remote(repository, release.full_commit, target.remote):
        return ""
    if repository.ask("rev-parse", "--is-shallow-repository") == "true":
        raise GitError(
            f"this clone is shallow, so whether {target.remote} has commit {release.full_commit[:12]} is "
            "unknown; fetch the history: git fetch --unshallow"
        )
    return target.remote


def lost_commit(target: Target, release: Release) -> Mark:
    """Return what a promotion says of a release whose commit the remote lacks, as after a squash merge.

    Its lock is on the branch, so it was accepted there. The message says that nothing can be compared.
    """
    try:
        remote = lacks_commit(target, release)
    except GitError as error:
        return Mark(body=f"Not known to have a commit: {error}.\n")
    if not remote:
        return Mark()
    text = f"no branch of {remote} has commit {release.full_commit[:12]}, so its source cannot be compared"
    print(f"warning: {release.name}: {text}; push its branch, or run the recipe again", file=sys.stderr)
    return Mark(body=f"Not verifiable: {text}.\n")


def committed(release: Release, path: str, takes_any: bool, lacking: str = "") -> Mark:
    """Return how a proposal of *release* is marked.

    A lock of an earlier version does not record its overrides; it is marked, and not refused.

    Args:
        release: the release of the lock.
        path: the lock's path.
        takes_any: whether the caller chose ``source=any``.
        lacking: the remote that lacks its commit; see ``lacks_commit``.

    Raises:
        ReleaseError: its commit's recipe does not give it, or the remote lacks the commit, and the caller
            did not choose that.
    """
    if release.given and not lacking:
        return Mark()
    if release.given is None and not lacking:
        return Mark(
            body="The lock does not record its overrides; `run verify` compares it with its commit.\n"
        )
    if not takes_any:
        fix = _fix(release) if release.given is False else _push(lacking)
        raise ReleaseError(f"{path}: {_reason(release, lacking)}; {fix}, or mark it as such with source=any")
    mark = "Not reproducible from a commit alone: " + _reason(release, lacking) + ".\n"
    return Mark(", not from a commit alone", mark, "any")


def _reason(release: Release, lacking: str) -> str:
    if release.commit is None:
        return "built outside of Git, so no commit gives it"
    if release.given is not False:
        return f"built from {built_from(release, 12)}, which no branch of {lacking} has"
    return f"built from {built_from(release, 12)}, which that commit alone does not give"


def _push(remote: str) -> str:
    return f"push its branch (if it is there already, `git fetch {remote}`; after a rebase, run again)"


def _fix(release: Release) -> str:
    recipe = f"recipes/{release.recipe}.yaml" if release.recipe != NO_RECIPE else "a recipe"
    edit = f"write the overrides into {recipe}, " if release.overrides else ""
    return f"{edit}commit what it is built from and run again (finished steps are not built again)"
