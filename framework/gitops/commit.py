"""Bringing one commit onto a branch: from a temporary work tree, past others who push as well.

A change is made anew on each new tip instead of being merged, so that what lands was always rendered and
judged on the very commit that it follows. Nothing is ever forced. It does not know what a change is.
"""

import random
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from framework.core.errors import FrameworkError, GitError
from framework.core.git import Repository, said

ATTEMPTS = 8
"""How often a change is made anew because somebody else pushed meanwhile."""
_RACED = re.compile(
    r"fetch first|non-fast-forward|cannot lock ref|failed to update ref|incorrect old value|stale info"
    r"|reference already exists|index\.lock|but expected"
)


@dataclass(frozen=True)
class Change:
    """What was written into a work tree, ready to be committed."""

    message: str
    branch: str
    """The branch that proposes it, where it does not land at once."""


@dataclass(frozen=True)
class Place:
    """The branch that a change starts from, and how it gets there."""

    repository: Repository
    remote: str | None
    base: str
    direct: bool
    """Whether the commit lands on the base itself, instead of on a branch of its own."""
    environments: str
    """The folder, below the caller's, that a change may touch."""

    def tip(self) -> str:
        """Return the newest commit of the base, as the remote has it where there is one.

        Raises:
            GitError: there is no such branch, or the remote cannot be reached.
        """
        if self.remote is None:
            return self._existing(f"refs/heads/{self.base}")
        tracking = f"refs/remotes/{self.remote}/{self.base}"
        done = self.repository.attempt(
            "fetch", "--quiet", "--no-tags", self.remote, f"+refs/heads/{self.base}:{tracking}"
        )
        if done.returncode and "couldn't find remote ref" in done.stderr:
            raise GitError(
                f"{self.remote}: it has no branch {self.base}; push it first: "
                f"git push {self.remote} {self.base}, or name another as base=<branch>"
            )
        if done.returncode and not _RACED.search(done.stderr):
            raise GitError(f"{self.remote}: cannot be reached: {said(done.stderr)}")
        return self._existing(tracking)

    def _existing(self, name: str) -> str:
        found = self.repository.ask("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if not found:
            raise GitError(f"{self.base}: no such branch; name one as base=<branch>")
        return found


@dataclass(frozen=True)
class Landed:
    """A commit that is where it should be."""

    place: Place
    commit: str
    branch: str
    message: str
    updated: bool
    """Whether the caller's own branch holds it already."""


def place_of(
    folder: Path, environments: str, base: str | None, direct: bool, apart: Sequence[str] = ()
) -> Place:
    """Return where a change that is asked for in *folder* starts, if the folder is ready for one.

    Args:
        folder: the caller's working folder.
        environments: the folder of rendered manifests in it.
        base: the branch as the caller named it.
        direct: whether the change lands on the base itself.
        apart: folders that may hold what no commit does, since that is what the change brings.

    Raises:
        GitError: there is no Git, no branch, or there are changes that no commit holds.
    """
    repository = Repository.around(folder)
    but = [f":(exclude){each}" for each in apart]
    changed = repository.run("status", "--porcelain", "--untracked-files=no", "--", ":/", *but).splitlines()
    words = ("status", "--porcelain", "--untracked-files=all", "--", environments, *but)
    changed += repository.run(*words).splitlines()
    if changed:
        more = f" and {len({*changed}) - 1} more" if len({*changed}) > 1 else ""
        raise GitError(f"{changed[0][3:]}{more}: changed but not committed; commit or `git stash` that first")
    current = repository.ask("symbolic-ref", "--quiet", "--short", "HEAD")
    remotes = repository.run("remote").split()
    own = repository.ask("config", f"branch.{current}.remote") if current else None
    remote = next((each for each in (own, "origin", *remotes) if each in remotes), None)
    head = repository.ask("symbolic-ref", "--quiet", "--short", f"refs/remotes/{remote}/HEAD")
    main = head.partition("/")[2] if head and remote and not direct else None
    chosen = base.removeprefix(f"{remote}/") if base else main or current
    if not chosen:
        raise GitError("HEAD: not on a branch; name the one to start from as base=<branch>")
    place = Place(repository, remote, chosen, direct, environments)
    if remote and chosen == current:
        tip = place.tip()
        ahead = repository.run("rev-list", "--count", f"{tip}..HEAD").strip()
        if ahead != "0":
            raise GitError(
                f"{chosen}: {ahead} commits are not on {remote} yet; `git push` or drop them first"
            )
    return place


def land(place: Place, change: Callable[[Repository], Change]) -> Landed:
    """Let *change* write into a work tree of the base, commit that, and bring it home.

    Where somebody else pushed first, all is done again on what they pushed.

    Raises:
        FrameworkError: *change* refuses, the remote does, or others were quicker every time.
    """
    for attempt in range(ATTEMPTS):
        tip = place.tip()
        with work_tree(place.repository, tip) as tree:
            made = change(tree)
            commit = _commit(tree, place, made.message)
        if _bring(place, commit, tip, made.branch):
            updated = _follow(place, commit) if place.direct else False
            return Landed(place, commit, made.branch, made.message, updated)
        time.sleep(random.uniform(0.1, 0.4) * 2 ** min(attempt, 4))
    where = f"{place.remote}/{place.base}" if place.remote else place.base
    raise GitError(f"{where}: others pushed there {ATTEMPTS} times meanwhile; try again in a minute")


@contextmanager
def work_tree(repository: Repository, commit: str) -> Iterator[Repository]:
    """Yield the caller's folder in a temporary work tree of *commit*, which ends with the block."""
    parent = Path(tempfile.mkdtemp(prefix="gitune-"))
    tree = parent / f"tree-{parent.name}"
    with _stopping():
        try:
            repository.run("worktree", "add", "--quiet", "--detach", str(tree), commit)
            folder = tree / repository.prefix
            if not folder.is_dir():
                raise GitError(f"{repository.prefix}: this folder is not in {commit[:12]}; push it first")
            yield Repository(folder)
        finally:
            repository.attempt("worktree", "remove", "--force", str(tree))
            shutil.rmtree(parent, ignore_errors=True)
            repository.attempt("worktree", "prune")


@contextmanager
def _stopping() -> Iterator[None]:
    """Let a signal end the block as an error does, so that the work tree is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        failure = FrameworkError(f"Stopped by {signal.Signals(number).name}; Git is as it was.")
        failure.exit_code = 128 + number
        raise failure

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _commit(tree: Repository, place: Place, message: str) -> str:
    # A fresh tree holds nothing but what was rendered; a lock that .gitignore names still belongs to it.
    tree.run("add", "--all", "--force", "--", place.environments)
    if tree.attempt("diff", "--cached", "--quiet").returncode == 0:
        follow = f"; follow it: git pull {place.remote} {place.base}" if place.remote else ""
        raise GitError(f"{place.base}: it holds exactly this already; nothing to commit{follow}")
    done = tree.attempt("commit", "--quiet", "--file", "-", given=message)
    if done.returncode:
        reason = said(done.stderr) or said(done.stdout)
        if "tell me who you are" in done.stderr:
            reason = "Git does not know who you are; set git config user.name and user.email"
        raise GitError(f"git commit: {reason}")
    return tree.run("rev-parse", "HEAD").strip()


def _bring(place: Place, commit: str, tip: str, branch: str) -> bool:
    """Put *commit* on its branch; False where somebody else was quicker.

    Raises:
        GitError: the remote refuses, or the branch is taken.
    """
    repository, remote = place.repository, place.remote
    name = place.base if place.direct else branch
    if remote is None:
        if place.direct:
            return _bring_here(place, commit, tip)
        done = repository.attempt("branch", "--no-track", branch, commit)
        if done.returncode:
            raise GitError(f"{branch}: this branch is there already; merge or delete it first")
        return True
    if not place.direct and repository.ask("ls-remote", "--exit-code", remote, f"refs/heads/{branch}"):
        raise GitError(f"{branch}: proposed already on {remote}; merge or delete that branch first")
    done = repository.attempt("push", "--porcelain", remote, f"{commit}:refs/heads/{name}")
    if done.returncode == 0:
        return True
    output = f"{done.stdout}\n{done.stderr}"
    if _RACED.search(output) and place.direct:
        return False
    raise GitError(f"{remote}: refused the push to {name}: {_refusal(output)}; nothing was changed")


def _refusal(output: str) -> str:
    told = [
        line.removeprefix("remote:").strip() for line in output.splitlines() if line.startswith("remote:")
    ]
    marks = [line for line in output.splitlines() if line.startswith("!")]
    reason = marks[0].rpartition("\t")[2] if marks else said(output)
    return f"{reason}: {told[0]}" if told and told[0] else reason


def _bring_here(place: Place, commit: str, tip: str) -> bool:
    """Move the base in a repository without a remote, and what is checked out along with it."""
    repository = place.repository
    if repository.ask("symbolic-ref", "--quiet", "--short", "HEAD") == place.base:
        done = repository.attempt("merge", "--ff-only", "--quiet", commit)
    else:
        done = repository.attempt("update-ref", f"refs/heads/{place.base}", commit, tip)
    if done.returncode and (place.tip() != tip or _RACED.search(done.stderr)):
        return False
    if done.returncode:
        raise GitError(f"{place.base}: cannot be moved: {said(done.stderr)}")
    return True


def _follow(place: Place, commit: str) -> bool:
    """Move the caller's own branch to what was pushed, where nothing is lost by that."""
    repository = place.repository
    if place.remote is None:
        return True
    repository.attempt("fetch", "--quiet", "--no-tags", place.remote, place.base)
    if repository.ask("symbolic-ref", "--quiet", "--short", "HEAD") == place.base:
        return repository.attempt("merge", "--ff-only", "--quiet", commit).returncode == 0
    words = ("fetch", "--quiet", ".", f"{commit}:refs/heads/{place.base}")
    return repository.attempt(*words).returncode == 0
