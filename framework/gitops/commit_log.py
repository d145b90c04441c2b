"""Read commits as data: who made them, what they say, and the trailers that our verbs write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.core.git import Repository

RELEASE, ENVIRONMENT, DIGEST, ROLLED_BACK, SOURCE, RENDERED_AT = (
    f"Gitune-{key}" for key in ("Release", "Environment", "Digest", "Rolled-Back", "Source", "Rendered-At")
)
TRAILERS = (RELEASE, ENVIRONMENT, DIGEST, ROLLED_BACK, SOURCE, RENDERED_AT)
_FIELDS = ("%H", "%ct", "%P", "%an <%ae>", "%cn <%ce>", "%s", "%B")


@dataclass(frozen=True)
class CommitRecord:
    """One commit."""

    commit: str
    time: int
    """When it was made, by its committer's clock, in seconds since 1970."""
    parents: Sequence[str]
    author: str
    """Such as ``A. Developer <a@example.org>``."""
    committer: str
    subject: str
    message: str
    trailers: Mapping[str, Sequence[str]]
    """The values of each of ``TRAILERS``; a squash merge may have several."""

    def names(self, key: str, value: str) -> bool:
        """Return whether one of the trailers *key* is *value*."""
        return value in self.trailers[key]


def commit_records(repository: Repository, revisions: str, path: str, *options: str) -> list[CommitRecord]:
    """Return the commits of *revisions* that changed *path*, newest first.

    Args:
        repository: the folder that *path* is relative to.
        revisions: a commit to look back from, or a range.
        path: a file or folder.
        options: options of ``git log``, such as ``--first-parent``.

    Raises:
        GitError: there is no such revision.
    """
    asked = (f"%(trailers:key={key},valueonly,unfold,separator=%x20)" for key in TRAILERS)
    form = "%x00".join([*_FIELDS, *asked])  # a message cannot contain this byte
    output = repository.run("log", "-z", f"--format={form}", *options, revisions, "--", path)
    words, width = output.split("\0"), len(_FIELDS) + len(TRAILERS)
    return [_record(words[start : start + width]) for start in range(0, len(words) - 1, width)]


def _record(words: Sequence[str]) -> CommitRecord:
    commit, seconds, parents, author, committer, subject, message, *values = words
    trailers = {key: tuple(value.split()) for key, value in zip(TRAILERS, values, strict=True)}
    return CommitRecord(commit, int(seconds), parents.split(), author, committer, subject, message, trailers)


def proposal_of(repository: Repository, record: CommitRecord, path: str) -> CommitRecord:
    """Return the commit that *record* merged and that brought *path*; *record* itself if it merged none.

    A merge has a message of its own, so the trailers are in what it merged.
    """
    if len(record.parents) < 2 or record.trailers[RELEASE]:
        return record
    merged = commit_records(
        repository, f"{record.parents[0]}..{record.commit}", path, "--no-merges", "--max-count=1"
    )
    return merged[0] if merged else record
