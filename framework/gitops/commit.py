"""Land one commit on a branch, from a temporary worktree, while others may push too.

After a lost race, the change is made again on the new tip instead of being merged. What lands was
therefore rendered and checked on exactly the commit that it follows. Nothing is ever force-pushed.
This module does not know what a change contains.
"""

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.core.errors import GitError
from framework.core.git import Repository, error_line
from framework.gitops.followed import FollowedBranch, followed_branch
from framework.gitops.worktree import temporary_worktree

ATTEMPTS = 8
"""How often a change is tried while others keep pushing first."""
_RACED = re.compile(
    r"fetch first|non-fast-forward|cannot lock ref|failed to update ref|incorrect old value|stale info"
    r"|reference already exists|index\.lock|but expected"
)
_BY_RULE = "[remote rejected]"
"""Git's words for a commit that a hook or a protection of the branch refuses."""


@dataclass(frozen=True)
class Change:
    """The message and branch of a change that was written into a worktree."""

    message: str
    branch: str
    """The branch that proposes it, unless it lands directly."""


@dataclass(frozen=True)
class Target:
    """The branch that a change starts from, and how the change reaches it."""

    repository: Repository
    remote: str | None
    base: str
    direct: bool
    """Whether the commit lands on the base itself instead of on its own branch."""
    environments: str
    """The folder, relative to the caller's, that a change may touch."""
    named_by: str
    """Where the base's name comes from."""
    followed: str | None
    """The branch that Argo CD follows; None if that is unknown."""

    def tip(self) -> str:
        """Return the newest commit of the base, fetched from the remote if there is one.

        Raises:
            GitError: the branch does not exist, or the remote cannot be reached.
        """
        if self.remote is None:
            return self._commit_of(f"refs/heads/{self.base}")
        tracking = f"refs/remotes/{self.remote}/{self.base}"
        done = self.repository.attempt(
            "fetch", "--quiet", "--no-tags", self.remote, f"+refs/heads/{self.base}:{tracking}"
        )
        if done.returncode and "couldn't find remote ref" in done.stderr:
            raise GitError(
                f"{self.remote}: it has no branch {self.base} (named by {self.named_by}); push it first: "
                f"git push {self.remote} {self.base}, or choose another with base=<branch>"
            )
        if done.returncode and not _RACED.search(done.stderr):
            raise GitError(f"{self.remote}: cannot be reached: {error_line(done.stderr)}")
        return self._commit_of(tracking)

    def _commit_of(self, ref: str) -> str:
        commit = self.repository.ask("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if not commit:
            raise GitError(
                f"{self.base}: no such branch (named by {self.named_by}); choose one with base=<branch>"
            )
        return commit


@dataclass(frozen=True)
class LandedCommit:
    """A commit on its target branch, or on the branch that proposes it."""

    target: Target
    commit: str
    branch: str
    message: str
    updated: bool
    """Whether the caller's local branch already contains it."""


def find_target(
    folder: Path, environments: str, base: str | None, direct: bool, excluded: Sequence[str] = ()
) -> Target:
    """Return the branch that a change requested in *folder* starts from, whatever is checked out there.

    Args:
        folder: the caller's working folder.
        environments: its folder of rendered manifests.
        base: the branch that the caller chose; None for the one that Argo CD follows.
        direct: whether the change lands on the base itself.
        excluded: folders that may hold uncommitted files, because the change commits them.

    Raises:
        GitError: there is no repository or branch, or there are uncommitted or unpushed changes.
    """
    repository = Repository.around(folder)
    _require_clean(repository, environments, excluded)
    chosen = followed_branch(repository, environments, base)
    followed = _followed(repository, environments) if base else chosen
    target = Target(
        repository,
        remote=chosen.remote,
        base=chosen.name,
        direct=direct,
        environments=environments,
        named_by=chosen.named_by,
        followed=followed.name if followed else None,
    )
    if target.remote and target.base == repository.branch:
        tip = target.tip()
        ahead = repository.run("rev-list", "--count", f"{tip}..HEAD").strip()
        if ahead != "0":
            raise GitError(
                f"{target.base}: {ahead} commit(s) not on {target.remote} yet; `git push` or drop them first"
            )
    return target


def _followed(repository: Repository, environments: str) -> FollowedBranch | None:
    try:
        return followed_branch(repository, environments)
    except GitError:  # the caller chose another branch, so that it need not be known
        return None


def _require_clean(repository: Repository, environments: str, excluded: Sequence[str]) -> None:
    """Refuse tracked changes anywhere, and untracked files below *environments*.

    Raises:
        GitError: names the first such file.
    """
    pathspecs = [f":(exclude){folder}" for folder in excluded]
    status = ("status", "--porcelain", "-z")
    tracked = repository.run(*status, "--untracked-files=no", "--", ":/", *pathspecs)
    untracked = repository.run(*status, "--untracked-files=all", "--", environments, *pathspecs)
    changed = [entry for entry in f"{tracked}{untracked}".split("\0") if entry]
    if changed:
        more = f" and {len({*changed}) - 1} more" if len({*changed}) > 1 else ""
        raise GitError(f"{changed[0][3:]}{more}: changed but not committed; commit or `git stash` that first")


def land(target: Target, change: Callable[[Repository], Change]) -> LandedCommit:
    """Run *change* in a worktree of the base, commit the result and push it.

    If another push came first, everything is done again on the new tip.

    Raises:
        FrameworkError: *change* or the remote refuses, or every attempt lost the race.
    """
    for attempt in range(ATTEMPTS):
        tip = target.tip()
        with temporary_worktree(target.repository, tip) as tree:
            made = change(tree)
            commit = _commit(tree, target, made.message)
        if _publish(target, commit, tip, made.branch):
            updated = _update_local_branch(target, commit) if target.direct else False
            return LandedCommit(target, commit, made.branch, made.message, updated)
        time.sleep(random.uniform(0.1, 0.4) * 2 ** min(attempt, 4))
    where = f"{target.remote}/{target.base}" if target.remote else target.base
    raise GitError(f"{where}: others pushed first {ATTEMPTS} times in a row; try again in a minute")


def _commit(tree: Repository, target: Target, message: str) -> str:
    # The fresh worktree holds rendered files only. --force adds a lock even if .gitignore matches it.
    tree.run("add", "--all", "--force", "--", target.environments)
    if tree.attempt("diff", "--cached", "--quiet", "--no-ext-diff", "--no-textconv").returncode == 0:
        pull = f"; update with: git pull {target.remote} {target.base}" if target.remote else ""
        raise GitError(f"{target.base}: already has exactly these files; nothing to commit{pull}")
    done = tree.attempt("commit", "--quiet", "--file", "-", stdin=message)
    if done.returncode:
        reason = error_line(done.stderr) or error_line(done.stdout)
        if "tell me who you are" in done.stderr:
            reason = "Git does not know who you are; set git config user.name and user.email"
        raise GitError(f"git commit: {reason}")
    return tree.run("rev-parse", "HEAD").strip()


def _publish(target: Target, commit: str, tip: str, branch: str) -> bool:
    """Put *commit* on its branch; return False if another push came first.

    Raises:
        GitError: the remote refuses, or the branch exists.
    """
    repository, remote = target.repository, target.remote
    name = target.base if target.direct else branch
    if remote is None:
        if target.direct:
            return _move_base(target, commit, tip)
        done = repository.attempt("branch", "--no-track", branch, commit)
        if done.returncode:
            raise GitError(f"{branch}: this branch already exists; merge or delete it first")
        return True
    if not target.direct and repository.ask("ls-remote", "--exit-code", remote, f"refs/heads/{branch}"):
        raise GitError(f"{branch}: already proposed on {remote}; merge or delete that branch first")
    done = repository.attempt("push", "--porcelain", remote, f"{commit}:refs/heads/{name}")
    if done.returncode == 0:
        return True
    output = f"{done.stdout}\n{done.stderr}"
    if _RACED.search(output) and target.direct:
        return False
    # A rule of the branch, not of the commit: its own branch may still be pushed.
    advice = "; propose it instead with push=branch" if target.direct and _BY_RULE in output else ""
    raise GitError(f"{remote}: refused the push to {name}: {_refusal(output)}; nothing was changed{advice}")


def _refusal(output: str) -> str:
    hook = [
        line.removeprefix("remote:").strip() for line in output.splitlines() if line.startswith("remote:")
    ]
    rejected = [line for line in output.splitlines() if line.startswith("!")]
    reason = rejected[0].rpartition("\t")[2] if rejected else error_line(output)
    return f"{reason}: {hook[0]}" if hook and hook[0] else reason


def _move_base(target: Target, commit: str, tip: str) -> bool:
    """Move the base of a repository without a remote, and the worktree in which it is checked out."""
    repository = target.repository
    if checkout := _checkout_of(repository, target.base):
        done = checkout.attempt("merge", "--ff-only", "--quiet", commit)
    else:
        done = repository.attempt("update-ref", f"refs/heads/{target.base}", commit, tip)
    if done.returncode and (target.tip() != tip or _RACED.search(done.stderr)):
        return False
    if done.returncode:
        raise GitError(f"{target.base}: cannot be moved: {error_line(done.stderr)}")
    return True


def _update_local_branch(target: Target, commit: str) -> bool:
    """Fast-forward the caller's local branch to the pushed commit; return whether that worked."""
    repository = target.repository
    if target.remote is None:
        return True
    repository.attempt("fetch", "--quiet", "--no-tags", target.remote, target.base)
    if repository.ask("rev-parse", "--verify", "--quiet", f"refs/heads/{target.base}") is None:
        return True
    if checkout := _checkout_of(repository, target.base):
        return checkout.attempt("merge", "--ff-only", "--quiet", commit).returncode == 0
    refspec = f"{commit}:refs/heads/{target.base}"
    return repository.attempt("fetch", "--quiet", ".", refspec).returncode == 0


def _checkout_of(repository: Repository, branch: str) -> Repository | None:
    """Return the worktree, this one or a linked one, in which *branch* is checked out; None if it is not."""
    folder = ""
    for line in repository.run("worktree", "list", "--porcelain").splitlines():
        key, _, value = line.partition(" ")
        folder = value if key == "worktree" else folder
        if line == f"branch refs/heads/{branch}" and Path(folder).is_dir():
            return Repository(Path(folder))
    return None
