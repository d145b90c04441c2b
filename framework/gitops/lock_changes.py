"""What happened to a release in its environments: one entry for each commit that changed one of its locks.

Trailers say what a verb did, as far as they agree with the lock. Commits of other tools have none, or wrong
ones; then the locks before and after are compared. Only the branch's own first-parent history counts.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.core.errors import GitError, ReleaseError
from framework.core.git import Repository
from framework.core.release import LOCK, Release
from framework.gitops.commit_log import (
    DIGEST,
    ENVIRONMENT,
    RELEASE,
    RENDERED_AT,
    SOURCE,
    CommitRecord,
    commit_records,
    proposal_of,
)
from framework.gitops.history import Version, versions
from framework.gitops.locks import digest_of, lock_path

RELEASED, PROMOTED, ROLLED_BACK, REMOVED, EDITED, REWRITTEN = (
    "released",
    "promoted",
    "rolled back",
    "removed",
    "edited",
    "rewritten",
)
_FROM = re.compile(r"^From ([a-z0-9-]+)\. Built from ", re.M)
_GATE = re.compile(r"^(\S+) is \S+, the gate requires (.+)\.$", re.M)
_SKIPPED = re.compile(r"^Skipped: (.+)\n\n((?:- .+\n)+)", re.M)
"""Lines of the messages that ``run propose`` and ``run promote`` write."""
_SEAL = "seal"


@dataclass(frozen=True)
class LockChange:
    """One change of a release's lock in one environment."""

    record: CommitRecord
    """The commit of the branch."""
    proposal: CommitRecord
    """The commit that it merged; itself if it merged none."""
    environment: str
    event: str
    """``released``, ``promoted``, ``rolled back``, ``removed``, ``edited`` by hand, or ``rewritten``: another
    lock of the same model."""
    start: str
    """The environment that it was promoted from; empty for other events."""
    before: str
    """The digest before; empty if there was none."""
    digest: str
    """The digest after; empty if the release was removed."""
    release: Release | None
    """The release after; None if it was removed or its lock was edited."""
    edits: Mapping[str, tuple[Any, Any]]
    """Of an edited or rewritten lock, each changed key with its value before and after."""
    disputed: str
    """What the trailers claim, where the lock says otherwise; empty if they agree or there are none."""

    @property
    def own(self) -> bool:
        """Whether one of our verbs wrote the commit, as its trailers say and the lock agrees."""
        return bool(self.proposal.trailers[RELEASE]) and not self.disputed

    @property
    def gates(self) -> dict[str, str]:
        """The bounds that the environment required when the release entered it."""
        return dict(_GATE.findall(self.proposal.message)) if self.own else {}

    @property
    def skipped(self) -> tuple[str, list[str]]:
        """The reason to skip conditions, and the conditions that were not met; empty if none was skipped."""
        found = _SKIPPED.search(self.proposal.message) if self.own else None
        return (found[1], [line[2:] for line in found[2].splitlines()]) if found else ("", [])

    @property
    def source(self) -> str:
        """``any`` if no commit alone gives the release, as its proposal says; else empty."""
        return " ".join(self.proposal.trailers[SOURCE]) if self.own else ""

    @property
    def rendered_at(self) -> str:
        """The commit whose manifests a rollback restored; empty if they were rendered anew."""
        return " ".join(self.proposal.trailers[RENDERED_AT]) if self.own else ""


def lock_changes(
    repository: Repository, tip: str, environments: str, release: str, environment: str
) -> list[LockChange]:
    """Return the changes of a release's locks, newest first.

    Args:
        repository: the working folder.
        tip: the commit to look back from.
        environments: the folder of environments.
        release: the release.
        environment: the only environment that counts; empty for all.

    Raises:
        GitError: the clone is shallow, so earlier changes are unknown.
        ReleaseError: no commit ever had a lock of the release there.
    """
    if repository.ask("rev-parse", "--is-shallow-repository") == "true":
        raise GitError(
            "this clone is shallow, so earlier changes are unknown; fetch the history: git fetch --unshallow"
        )
    pathspec = f":(glob){lock_path(environments, '*', release)}"
    own = ("log", "--first-parent", tip, "--", pathspec)
    order = repository.run(own[0], "--format=%H", *own[1:]).split()
    listed = repository.run(own[0], "-m", "-z", "--format=", "--name-only", *own[1:])
    places = sorted({path.split("/")[-3] for path in listed.split("\0") if path.endswith(LOCK)})
    if not places or (environment and environment not in places):
        path = lock_path(environments, environment or "*", release)
        raise ReleaseError(f"{path}: never in this history; there is {', '.join(places) or 'no environment'}")
    changes = [
        change
        for place in ([environment] if environment else places)
        for change in _changes(repository, tip, environments, release, place, places)
    ]
    return sorted(changes, key=lambda change: order.index(change.record.commit))


def _changes(
    repository: Repository, tip: str, environments: str, release: str, place: str, places: Sequence[str]
) -> list[LockChange]:
    """Return the changes in the environment *place*, one of *places*."""
    paths = {name: f"{repository.prefix}{lock_path(environments, name, release)}" for name in places}
    path = lock_path(environments, place, release)
    records = commit_records(repository, tip, path, "--first-parent")
    held = {version.commit: version for version in versions(repository, tip, path)}
    before = repository.blobs(f"{record.commit}^:{paths[name]}" for record in records for name in places)
    changes = []
    for number, record in enumerate(records):
        texts = dict(zip(places, before[number * len(places) :], strict=False))
        proposal = proposal_of(repository, record, path)
        changes.append(_change(record, proposal, release, place, texts, held.get(record.commit)))
    return changes


def _change(
    record: CommitRecord,
    proposal: CommitRecord,
    release: str,
    place: str,
    before: Mapping[str, str | None],
    after: Version | None,
) -> LockChange:
    """Return what *record* did to the lock in *place*.

    Args:
        record: the commit of the branch.
        proposal: the commit that it merged.
        release: the release's name.
        place: the environment.
        before: the text of each environment's lock before.
        after: the lock after; None if it was removed.
    """
    old, digest = digest_of(before[place] or ""), after.digest if after else ""
    claimed = {RELEASE: release, ENVIRONMENT: place, DIGEST: digest}
    wrong = [key for key, value in claimed.items() if value not in proposal.trailers[key]]
    own = bool(proposal.trailers[RELEASE]) and not wrong
    disputed = "" if own or not proposal.trailers[RELEASE] else _claims(proposal, wrong)
    others = [name for name, text in before.items() if name != place and digest_of(text or "") == digest]
    event, start = _event(proposal, own, old, after, others)
    edits = _edits(before[place], after.text) if after and event in (EDITED, REWRITTEN) else {}
    return LockChange(
        record,
        proposal,
        place,
        event,
        start,
        old,
        digest,
        after.release if after else None,
        edits,
        disputed,
    )


def _event(
    proposal: CommitRecord, own: bool, old: str, after: Version | None, others: Sequence[str]
) -> tuple[str, str]:
    """Return the event, and the environment that a promotion came from.

    Args:
        proposal: the commit.
        own: whether its trailers agree with the lock.
        old: the digest before.
        after: the lock after; None if it was removed.
        others: the environments that had the digest before.
    """
    if after is None:
        return REMOVED, ""
    if after.release is None:
        return EDITED, ""
    if own and not after.rolled_back:
        start = _FROM.search(proposal.message)
        return (PROMOTED, start[1]) if start else (RELEASED, "")
    if after.digest == old:
        return REWRITTEN, ""
    if after.rolled_back:
        return ROLLED_BACK, ""
    return (PROMOTED, " or ".join(others)) if others else (RELEASED, "")


def _claims(proposal: CommitRecord, keys: Sequence[str]) -> str:
    return ", ".join(f"{key}: {' '.join(proposal.trailers[key]) or 'none'}" for key in keys)


def _edits(before: str | None, after: str) -> dict[str, tuple[Any, Any]]:
    """Return each key in which two locks differ, the seals aside, with both values."""
    old, new = _flat(before), _flat(after)
    keys = [key for key in sorted({*old, *new}) if key != _SEAL and old.get(key) != new.get(key)]
    return {key: (old.get(key), new.get(key)) for key in keys}


def _flat(text: str | None) -> dict[str, Any]:
    """Return a lock's values by dotted key; empty if it is not JSON."""
    try:
        body = json.loads(text or "{}")
    except ValueError:
        return {}
    flat: dict[str, Any] = {}
    for key, value in body.items() if isinstance(body, dict) else ():
        flat |= (
            {f"{key}.{name}": each for name, each in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
    return flat
