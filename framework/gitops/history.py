"""Read which releases ran in an environment: the versions of a lock in Git, newest first.

Only the branch's own first-parent history counts: a merged branch changes the environment when it merges.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from framework.core.errors import GitError, ReleaseError
from framework.core.git import Repository
from framework.core.release import Release
from framework.gitops.commit_log import RELEASE, ROLLED_BACK, commit_records, proposal_of
from framework.gitops.locks import digest_of


@dataclass(frozen=True)
class Version:
    """A commit that changed the lock."""

    commit: str
    time: int
    """When the commit was made, by its committer's clock, in seconds since 1970."""
    text: str
    """The lock after this commit."""
    release: Release | None
    """The release; None if the lock is incomplete or was edited."""
    digest: str
    """The model's digest; empty if the lock names none."""
    rolled_back: str
    """Digest that this commit rolled back; empty for most commits."""
    ran_at: str
    """The last commit at which this lock was current."""


def versions(repository: Repository, tip: str, path: str) -> list[Version]:
    """Return the versions of the lock at *path*, starting with the current one at *tip*.

    Args:
        repository: the folder that *path* is relative to.
        tip: the commit to look back from.
        path: the lock.

    Raises:
        GitError: the clone is shallow, so earlier versions are unknown.
    """
    if repository.ask("rev-parse", "--is-shallow-repository") == "true":
        raise GitError(
            "this clone is shallow, so earlier releases are unknown; fetch the history: git fetch --unshallow"
        )
    records = commit_records(repository, tip, path, "--first-parent")
    name = f"{repository.prefix}{path}"
    texts = repository.blobs(f"{record.commit}:{name}" for record in records)
    digests = [digest_of(text or "") for text in texts]
    past, ran_at = [], tip
    for number, (record, text) in enumerate(zip(records, texts, strict=True)):
        if text is None:  # the release was removed from the environment
            ran_at = f"{record.commit}^"
            continue
        proposal = proposal_of(repository, record, path)
        try:
            release = Release.parse(text, path)
        except ReleaseError:
            release = None
        # Commits of other tools have no trailers: those that restore an older lock count as rollbacks.
        bad = " ".join(proposal.trailers[ROLLED_BACK])
        bad = bad or ("" if proposal.trailers[RELEASE] else _reverted(digests[number:]))
        past.append(Version(record.commit, record.time, text, release, digests[number], bad, ran_at))
        ran_at = f"{record.commit}^"
    return past


def rolled_back_in(past: Sequence[Version], digest: str) -> str:
    """Return the commit that rolled *digest* back, unless it has run again since; else an empty string.

    Args:
        past: as ``versions`` returns it.
        digest: the model's digest, as in a release.
    """
    for version in past:
        if version.rolled_back == digest:
            return version.commit
        if version.digest == digest:
            return ""
    return ""


def arrived(repository: Repository, past: Sequence[Version]) -> int:
    """Return when the current release came, without having left since, in seconds since 1970.

    A commit counts as no older than its ancestors, since its author can set any date.

    Args:
        repository: a checkout of the branch.
        past: as ``versions`` returns it, starting with the current one.
    """
    run = past[:1]
    for version in past[1:]:
        # A lock that was removed in between ran until the commit before its removal.
        if version.digest != run[-1].digest or version.ran_at != f"{run[-1].commit}^":
            break
        run = [*run, version]
    dates = map(int, repository.run("log", "--format=%ct", run[-1].commit).split())
    # A date in the future is of a wrong clock; of another commit, it says nothing.
    return max(run[-1].time, *(date for date in dates if date <= time.time()), 0)


def _reverted(digests: Sequence[str]) -> str:
    """Return the digest that a commit without trailers rolled back; empty if it rolled none back.

    Args:
        digests: after that commit and each one before it, newest first.

    >>> _reverted(["b", "c", "b", "a"]), _reverted(["c", "b", "c", "b"]), _reverted(["b", "a"])
    ('c', '', '')
    """
    now, before, past = digests[0], next(iter(digests[1:]), ""), list(reversed(digests[1:]))
    return before if now in past and past.index(now) < past.index(before) else ""


def candidates(past: Sequence[Version], wanted: str) -> list[Version]:
    """Return the versions that a rollback can restore, best first, each release once.

    Releases that were rolled back are excluded, unless they were promoted again afterwards.

    Args:
        past: as ``versions`` returns it.
        wanted: the first hex digits of the digest that the caller chose, which may have been rolled back;
            empty for the last good release.
    """
    current = past[0].digest
    is_good: dict[str, bool] = {}
    restorable: dict[str, Version] = {}
    for version in past:
        is_good.setdefault(version.digest, True)
        if version.rolled_back:
            is_good.setdefault(version.rolled_back, False)
        sealed = version.release is not None
        if sealed and version.digest != current and (wanted or is_good[version.digest]):
            restorable.setdefault(version.digest, version)
    prefix = wanted.removeprefix("sha256:")
    return [
        version for digest, version in restorable.items() if digest.removeprefix("sha256:").startswith(prefix)
    ]
