"""``run log``: what happened to a release in its environments, from Git's history, newest first."""

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from framework.core.errors import GitError
from framework.core.git import Repository
from framework.core.release import Release, built_from
from framework.gitops.arguments import choice, name, parse_arguments, subfolder
from framework.gitops.commit import Target
from framework.gitops.commit_log import CommitRecord
from framework.gitops.followed import followed_branch, last_known_branch
from framework.gitops.lock_changes import (
    EDITED,
    PROMOTED,
    REMOVED,
    REWRITTEN,
    ROLLED_BACK,
    LockChange,
    lock_changes,
)
from framework.gitops.locks import short_digest
from framework.gitops.text_layout import paragraph, row

_SHORT = 12
_WIDEST_VALUE = 16


def log(words: Sequence[str]) -> None:
    """Print every change of a release's locks on the branch that Argo CD follows, one block each.

    Raises:
        FrameworkError: there is no such release or branch, or the clone is shallow.
    """
    optional = {"environment": "", "base": "", "format": "text", "environments": "environments"}
    arguments = parse_arguments("log", words, ("release",), optional)
    release = name("release", arguments["release"])
    environment = arguments["environment"] and name("environment", arguments["environment"])
    form = choice("format", arguments["format"], ("text", "json"))
    root = subfolder("environments", arguments["environments"])
    repository = Repository.around(Path())
    changes = lock_changes(repository, _tip(repository, root, arguments["base"]), root, release, environment)
    if form == "json":
        print(json.dumps([_data(change) for change in changes], indent=2, ensure_ascii=False))
    else:
        print(_printable("\n\n".join("\n".join(_block(change)) for change in changes)))


def _tip(repository: Repository, environments: str, base: str) -> str:
    """Return the newest commit of the followed branch; as last fetched if the remote cannot be reached.

    Raises:
        GitError: there is no such branch.
    """
    try:
        branch = followed_branch(repository, environments, base or None)
        named_by = branch.named_by
        return Target(repository, branch.remote, branch.name, True, environments, named_by, branch.name).tip()
    except GitError as error:
        known = base or last_known_branch(repository, environments)
        refs = repository.run("for-each-ref", "--format=%(refname)", f"refs/remotes/*/{known}").split()
        if "cannot be reached" not in str(error) or not refs:
            raise
        print(f"warning: {error}; this is {refs[0]} as last fetched", file=sys.stderr)
        return refs[0]


def _printable(text: str) -> str:
    """Return *text* without what a name or message could use to control a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _block(change: LockChange) -> Iterator[str]:
    """Yield the lines on one change."""
    record, release = change.record, change.release
    yield f"{_date(record.time)}  {record.commit[:_SHORT]}  {change.environment}"
    yield row(change.event, *_what(change))
    for key, (old, new) in change.edits.items():
        yield paragraph("", f"{key} {_shown(old)} -> {_shown(new)}")
    if release is not None:
        yield row("", f"recipe {release.recipe}", *f"built from {built_from(release, _SHORT)}".split(", "))
    yield row("by", *_who(change.proposal))
    if change.proposal is not record:
        yield row("merged by", *_who(record))
    if not change.own:
        yield paragraph("message", change.proposal.subject)
    if change.disputed:
        yield paragraph("disputed", f"its trailers do not agree with the lock: {change.disputed}")
    if change.rendered_at:
        yield row("manifests", f"as they ran at {change.rendered_at[:_SHORT]}")
    if release is not None:
        yield row("gates", *_measured(release, release.gates) or ["none when it was built"])
        if change.gates:
            yield row("here", *_measured(release, change.gates))
    reason, unmet = change.skipped
    if reason:
        yield paragraph("skipped", reason)
        yield from (paragraph("  unmet", condition) for condition in unmet)
    if change.source:
        yield paragraph("source", f"{change.source}: no commit alone gives it")


def _what(change: LockChange) -> list[str]:
    """Return what the change did, as the items of a row."""
    before, after = short_digest(change.before), short_digest(change.digest)
    if change.event == REMOVED:
        return [before or "a lock without a digest"]
    if change.event == ROLLED_BACK:
        return [f"{before} -> {after}"]
    if change.event in (EDITED, REWRITTEN):
        why = "by hand: its seal is broken" if change.event == EDITED else "the same model with another lock"
        return [after or "no digest", why]
    start = [f"from {change.start}"] if change.event == PROMOTED else []
    return [after, *start, f"replaces {before}" if before else "the first here"]


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _WIDEST_VALUE else f"{text[:_WIDEST_VALUE]}…"


def _measured(release: Release, bounds: Any) -> list[str]:
    """Return each bound with the value that the lock records."""
    recorded = {metric: release.metrics.get(metric) for metric in bounds}
    values = {metric: "not recorded" if value is None else f"{value:g}" for metric, value in recorded.items()}
    return [f"{metric} {values[metric]} ({bound})" for metric, bound in sorted(bounds.items())]


def _who(record: CommitRecord) -> list[str]:
    committed = [] if record.committer == record.author else [f"committed by {record.committer}"]
    return [record.author, *committed]


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _data(change: LockChange) -> dict[str, Any]:
    """Return one change as plain data."""
    record, proposal, release = change.record, change.proposal, change.release
    metrics = release.metrics if release else {}
    reason, unmet = change.skipped
    return {
        "commit": record.commit,
        "date": datetime.fromtimestamp(record.time, UTC).isoformat(),
        "environment": change.environment,
        "event": change.event,
        "from": change.start,
        "before": change.before,
        "digest": change.digest,
        "recipe": release.recipe if release else "",
        "built_from": built_from(release) if release else "",
        "author": proposal.author,
        "committer": proposal.committer,
        "merged_by": "" if proposal is record else record.committer,
        "proposal": proposal.commit,
        "subject": proposal.subject,
        "trailers_agree": change.own,
        "disputed": change.disputed,
        "edits": {key: list(values) for key, values in change.edits.items()},
        "manifests_of": change.rendered_at,
        "gates": _bounds(release.gates if release else {}, metrics),
        "environment_gates": _bounds(change.gates, metrics),
        "skipped": reason,
        "unmet": unmet,
        "source": change.source,
    }


def _bounds(bounds: Any, metrics: Any) -> dict[str, dict[str, Any]]:
    return {
        metric: {"value": metrics.get(metric), "bound": bound} for metric, bound in sorted(bounds.items())
    }
