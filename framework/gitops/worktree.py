"""A temporary Git worktree, in which a change is made while the caller's folder stays as it is."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from filelock import FileLock, Timeout

from framework.core.errors import FrameworkError, GitError
from framework.core.git import Repository
from framework.core.signals import handling_signals

_PREFIX = "gitune-"
_LOCK = "in-use.lock"
"""Beside the worktree; held until the command ends, in whichever way."""
_FULL = ("core.sparseCheckout=false",)
"""A sparse checkout is the caller's choice for its own folder; here every file is needed."""


@contextmanager
def temporary_worktree(repository: Repository, commit: str) -> Iterator[Repository]:
    """Yield the caller's folder in a full worktree of *commit*, which is removed afterwards.

    Worktrees that a killed command left are removed first.
    """
    _remove_abandoned(repository)
    parent = Path(tempfile.mkdtemp(prefix=_PREFIX))
    tree = parent / _tree_name(parent)
    with _signals_as_errors(), FileLock(parent / _LOCK):
        try:
            Repository(repository.folder, _FULL).run(
                "worktree", "add", "--quiet", "--detach", str(tree), commit
            )
            folder = tree / repository.prefix
            if not folder.is_dir():
                raise GitError(f"{repository.prefix}: this folder is not in {commit[:12]}; push it first")
            yield Repository(folder, _FULL)
        finally:
            _remove(repository, tree)


def _remove_abandoned(repository: Repository) -> None:
    """Remove the worktrees of commands that were killed; those of running commands are locked."""
    listed = repository.ask("worktree", "list", "--porcelain") or ""
    for line in listed.splitlines():
        tree = Path(line.removeprefix("worktree "))
        parent = tree.parent
        is_ours = parent.name.startswith(_PREFIX) and tree.name == _tree_name(parent)
        if line.startswith("worktree ") and is_ours and parent.is_dir():
            with suppress(Timeout, OSError), FileLock(parent / _LOCK, timeout=0):
                _remove(repository, tree)
    repository.attempt("worktree", "prune")


def _remove(repository: Repository, tree: Path) -> None:
    # Twice: Git locks a worktree that it was still making when it was killed.
    repository.attempt("worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree.parent, ignore_errors=True)
    repository.attempt("worktree", "prune")


def _tree_name(parent: Path) -> str:
    return f"tree-{parent.name}"


@contextmanager
def _signals_as_errors() -> Iterator[None]:
    """Raise on SIGINT and SIGTERM, so that the worktree is removed."""

    def stop(number: int) -> NoReturn:
        failure = FrameworkError(f"Stopped by {signal.Signals(number).name}; the repository is unchanged.")
        failure.exit_code = 128 + number
        raise failure

    with handling_signals(stop):
        yield
