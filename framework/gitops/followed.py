"""Find the branch that Argo CD follows: the only one whose commits change a cluster.

The committed ApplicationSet names it, else the remote does with its default branch. What is checked out
decides only in a repository without either, which no cluster can follow.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework.core.errors import GitError
from framework.core.git import Repository, error_line

SSH_URL = re.compile(r"(?:ssh://)?[^@/]+@([^:/]+)(?::\d+/|[:/])(.+)")
"""A remote's address by SSH: host and path."""
_HEADS = "refs/heads/"


@dataclass(frozen=True)
class FollowedBranch:
    """A branch, and the remote that has it."""

    remote: str | None
    name: str
    named_by: str
    """Where the name comes from."""


@dataclass(frozen=True)
class _Source:
    """What an ApplicationSet follows."""

    file: str
    revision: str
    """A branch, or ``HEAD`` for the remote's default branch."""
    url: str


def followed_branch(repository: Repository, environments: str, base: str | None = None) -> FollowedBranch:
    """Return the branch that Argo CD follows.

    Args:
        repository: the caller's folder.
        environments: its folder of rendered manifests, with ``argocd/`` below it.
        base: the branch that the caller chose instead, with or without its remote; None for none.

    Raises:
        GitError: no branch is named, or several are; or the remote cannot be reached.
    """
    here = _sources(repository, "HEAD", environments)
    remote = _remote(repository, here, base)
    if remote and not here:
        remote = _followed_remote(repository, environments, remote)
    if base:
        return FollowedBranch(remote, base.removeprefix(f"{remote}/").removeprefix(_HEADS), "base=")
    if remote is None:
        default, sources = repository.branch, here
    else:
        default = _default_branch(repository, remote)
        sources = _sources_on(repository, remote, default, environments) or here
    if source := _only(sources, environments):
        name = default if source.revision == "HEAD" else source.revision
        if name:
            return FollowedBranch(remote, name, source.file)
    if default:
        return FollowedBranch(remote, default, f"{remote}'s HEAD" if remote else "HEAD")
    if remote:
        raise GitError(f"{remote}: it has no default branch; push one, or choose with base=<branch>")
    raise GitError("HEAD: not on a branch; choose the base with base=<branch>")


def last_known_branch(repository: Repository, environments: str) -> str | None:
    """Return the branch that the folder's own files and refs name, committed or not; None if none do.

    Raises:
        GitError: several ApplicationSets follow different branches.
    """
    files = sorted(Path(repository.folder, environments, "argocd").glob("*.yaml"))
    sources = [
        source
        for file in files
        for source in _parse(str(file), file.read_text(encoding="utf-8", errors="replace"))
    ]
    remote = _remote(repository, sources, None)
    tracked = f"refs/remotes/{remote}/"
    source = _only(sources, environments)
    if source and source.revision != "HEAD":
        return source.revision
    return repository.points_to(f"{tracked}HEAD", tracked) if remote else None


def _remote(repository: Repository, sources: Iterable[_Source], base: str | None) -> str | None:
    """Return the remote that Argo CD reads, or else the most likely one; None without any."""
    remotes = (repository.ask("remote") or "").split()
    matching = [_named_remote(repository, source) for source in sources]
    branches = [base, *(source.revision for source in sources), repository.branch]
    own = [repository.ask("config", f"branch.{branch}.remote") for branch in branches if branch]
    return next((found for found in (*matching, *own, "origin", *remotes) if found in remotes), None)


def _followed_remote(repository: Repository, environments: str, likely: str) -> str:
    """Return the remote that the ApplicationSets on a remote's default branch name; *likely* if none does.

    What is checked out may be older than they are, or a fork's.

    Raises:
        GitError: the remote *likely* cannot be reached.
    """
    others = [name for name in repository.run("remote").split() if name != likely]
    if not others:
        return likely
    for remote in (likely, *others):
        try:
            branch = _default_branch(repository, remote)
        except GitError:
            if remote == likely:
                raise
            continue
        for source in _sources_on(repository, remote, branch, environments):
            if named := _named_remote(repository, source):
                return named
    return likely


def _named_remote(repository: Repository, source: _Source) -> str | None:
    """Return the remote whose address *source* names; None if there is none."""
    for remote in (repository.ask("remote") or "").split():
        url = repository.ask("remote", "get-url", remote) or ""
        if source.url and _address(url) == _address(source.url):
            return remote
    return None


def _address(url: str) -> str:
    """Return a remote's URL without what differs between two ways to reach one repository.

    >>> _address("git@example.com:team/models.git"), _address("https://me:key@example.com/team/models")
    ('example.com/team/models', 'example.com/team/models')
    """
    ssh = SSH_URL.fullmatch(url)
    plain = f"{ssh[1]}/{ssh[2]}" if ssh else re.sub(r"^https?://([^@/]*@)?", "", url)
    return plain.removesuffix("/").removesuffix(".git")


def _default_branch(repository: Repository, remote: str) -> str | None:
    """Return the remote's default branch; None if it has none.

    Raises:
        GitError: the remote cannot be reached.
    """
    done = repository.attempt("ls-remote", "--symref", remote, "HEAD")
    if done.returncode:
        raise GitError(f"{remote}: cannot be reached: {error_line(done.stderr)}")
    for line in done.stdout.splitlines():
        if line.startswith(f"ref: {_HEADS}") and line.endswith("\tHEAD"):
            return line.removesuffix("\tHEAD").removeprefix(f"ref: {_HEADS}")
    tracked = f"refs/remotes/{remote}/"  # a server that does not say what its HEAD points to
    return repository.points_to(f"{tracked}HEAD", tracked)


def _sources_on(repository: Repository, remote: str, branch: str | None, environments: str) -> list[_Source]:
    """Return what the ApplicationSets on the remote's *branch* follow; none if it cannot be fetched."""
    tracking = f"refs/remotes/{remote}/{branch}"
    fetch = ("fetch", "--quiet", "--no-tags", remote, f"+{_HEADS}{branch}:{tracking}")
    if branch is None or repository.attempt(*fetch).returncode:
        return []
    return _sources(repository, tracking, environments)


def _sources(repository: Repository, commit: str, environments: str) -> list[_Source]:
    """Return what the ApplicationSets in ``argocd/`` of a commit follow."""
    listed = repository.ask("ls-tree", "--name-only", "-z", commit, "--", f"{environments}/argocd/") or ""
    files = [file for file in listed.split("\0") if file.endswith((".yaml", ".yml"))]
    texts = repository.blobs(f"{commit}:{repository.prefix}{file}" for file in files)
    return [source for file, text in zip(files, texts, strict=True) for source in _parse(file, text or "")]


def _parse(file: str, text: str) -> list[_Source]:
    if "ApplicationSet" not in text:
        return []
    try:
        bodies = [body for body in yaml.safe_load_all(text) if isinstance(body, dict)]
    except yaml.YAMLError:
        return []
    sources = []
    for body in bodies:
        found: Any = body
        for key in ("spec", "template", "spec", "source"):
            found = found.get(key) if isinstance(found, dict) else None
        if body.get("kind") == "ApplicationSet" and isinstance(found, dict):
            revision = str(found.get("targetRevision") or "HEAD").removeprefix(_HEADS)
            sources.append(_Source(file, revision, str(found.get("repoURL") or "")))
    return sources


def _only(sources: Iterable[_Source], environments: str) -> _Source | None:
    """Return the one source; None without any.

    Raises:
        GitError: they follow different branches.
    """
    by_revision = {source.revision: source for source in sources}
    if len(by_revision) > 1:
        names = ", ".join(sorted(by_revision))
        raise GitError(f"{environments}/argocd: follows several branches, {names}; choose with base=<branch>")
    return next(iter(by_revision.values()), None)
