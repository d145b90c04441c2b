"""What ran in a place before: the lock's versions in Git, newest first.

A branch's own line tells it: of what was merged, the merge is what changed the place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from framework.core.errors import GitError, ReleaseError
from framework.core.git import Repository
from framework.core.release import Release
from framework.gitops.locks import digest_of


@dataclass(frozen=True)
class Version:
    """A commit that changed the lock."""

    commit: str
    text: str
    """The lock as this commit left it."""
    release: Release | None
    """The release, or None where the lock was not whole or had been edited."""
    digest: str
    """The model's digest; empty where the text names none."""
    rolled_back: str
    """The digest that this commit put away as bad, by a rollback or a revert; empty for most commits."""
    ran_at: str
    """The last commit at which this lock was the one that ran."""


def versions(repository: Repository, tip: str, path: str) -> list[Version]:
    """Return the versions of the lock at *path*, the one that runs at *tip* first.

    Args:
        repository: the folder that *path* is relative to.
        tip: where to look back from.
        path: the lock's.

    Raises:
        GitError: the history is cut off, so that nobody could tell what ran before.
    """
    if repository.ask("rev-parse", "--is-shallow-repository") == "true":
        raise GitError(
            "this clone has no whole history, which says what ran before; fetch it: git fetch --unshallow"
        )
    keys = ("Gitune-Release", "Gitune-Rolled-Back")
    form = "%x1f".join(["%H", *(f"%(trailers:key={key},valueonly,separator=%x20)" for key in keys)])
    lines = repository.run("log", "--first-parent", f"--format={form}", tip, "--", path).splitlines()
    commits = [line.split("\x1f") for line in lines if line]
    name = f"{repository.prefix}{path}"
    texts = repository.blobs(f"{commit}:{name}" for commit, *_ in commits)
    digests = [digest_of(text or "") for text in texts]
    found, ran_at = [], tip
    for number, ((commit, ours, bad), text) in enumerate(zip(commits, texts, strict=True)):
        if text is None:  # the release was taken out of the environment
            ran_at = f"{commit}^"
            continue
        try:
            release = Release.parse(text, path)
        except ReleaseError:
            release = None
        put_away = bad.strip() or ("" if ours.strip() else _reverted(digests[number:]))
        found.append(Version(commit, text, release, digests[number], put_away, ran_at))
        ran_at = f"{commit}^"
    return found


def put_away_by(past: Sequence[Version], digest: str) -> str:
    """Return the commit that put *digest* away as bad, if it has not run since; else nothing.

    Args:
        past: as ``versions`` returns it.
        digest: the model's, as a release has it.
    """
    for version in past:
        if version.rolled_back == digest:
            return version.commit
        if version.digest == digest:
            return ""
    return ""


def _reverted(digests: Sequence[str]) -> str:
    """Return the digest that a commit which says nothing of it put away; empty where it put none.

    Args:
        digests: as that commit, and those before it, left them, newest first.

    >>> _reverted(["b", "c", "b", "a"]), _reverted(["c", "b", "c", "b"]), _reverted(["b", "a"])
    ('c', '', '')
    """
    now, before, past = digests[0], next(iter(digests[1:]), ""), list(reversed(digests[1:]))
    return before if now in past and past.index(now) < past.index(before) else ""


def candidates(past: Sequence[Version], wanted: str) -> list[Version]:
    """Return the versions to go back to, best first: each release once, none that was put away as bad.

    What was rolled back from and promoted again later counts by what happened last.

    Args:
        past: as ``versions`` returns it.
        wanted: the first hex digits of the digest that the caller asked for; it may be one that was rolled
            back from. Empty for the last one that is fit.

    """
    current = past[0].digest
    fate: dict[str, bool] = {}
    found: dict[str, Version] = {}
    for version in past:
        fate.setdefault(version.digest, True)
        if version.rolled_back:
            fate.setdefault(version.rolled_back, False)
        sealed = version.release is not None
        if sealed and version.digest != current and (wanted or fate[version.digest]):
            found.setdefault(version.digest, version)
    asked = wanted.removeprefix("sha256:")
    if asked:
        found = {digest: v for digest, v in found.items() if digest.removeprefix("sha256:").startswith(asked)}
    return list(found.values())
