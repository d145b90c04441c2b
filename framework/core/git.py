"""Git by its command: what it answers, and one sentence where it refuses.

It knows nothing of environments or releases, and asks for no password: what a push needs, Git's own
configuration gives.
"""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from framework.core.errors import GitError
from framework.core.machine_rank import COMMIT

_BYTES = "surrogateescape"
"""How bytes that are no UTF-8 travel through text, so that sizes stay true."""
_CALLERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
"""What Git tells a hook of the repository that called it: here the folder alone says which one is meant."""
_SECONDS = 300
"""Longest time that one command may take; a server that hangs is an error."""


@dataclass(frozen=True)
class Repository:
    """A folder in Git's work tree, and the commands that run in it."""

    folder: Path

    @classmethod
    def around(cls, folder: Path) -> "Repository":
        """Return the repository that *folder* lies in.

        Raises:
            GitError: it lies in none, or there is no Git.
        """
        found = cls(folder)
        done = found.attempt("rev-parse", "--is-inside-work-tree")
        if "safe.directory" in done.stderr:
            raise GitError(
                f"{folder.resolve()}: it belongs to another user, so Git does not trust it; allow it by "
                f"`git config --global --add safe.directory {folder.resolve()}`"
            )
        if done.stdout.strip() != "true":
            raise GitError(
                f"{folder.resolve()}: not a Git repository, and Git is the only way into a cluster; "
                "call this in a clone, or begin one with `git init` and a first commit"
            )
        return found

    @property
    def prefix(self) -> str:
        """The folder's path below the repository's root, with a slash at its end; empty at the root."""
        return self.run("rev-parse", "--show-prefix").strip()

    def run(self, *words: str, given: str = "") -> str:
        """Return what ``git *words`` prints.

        Raises:
            GitError: it fails, with what it said.
        """
        done = self.attempt(*words, given=given)
        if done.returncode:
            raise GitError(f"git {words[0]}: {said(done.stderr) or said(done.stdout) or 'it failed'}")
        return done.stdout

    def ask(self, *words: str) -> str | None:
        """Return what ``git *words`` prints, less white space at the ends, or None if it fails."""
        done = self.attempt(*words)
        return done.stdout.strip() if done.returncode == 0 else None

    def attempt(self, *words: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        """Run ``git *words`` and return how it ended.

        Raises:
            GitError: there is no Git, or no answer.
        """
        kept = {key: value for key, value in os.environ.items() if key not in _CALLERS}
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=self.folder,
                env={**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
                input=given.encode(),
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise GitError("git: this command is not installed; install Git") from None
        except subprocess.TimeoutExpired:
            raise GitError(f"git {words[0]}: no answer for {_SECONDS} s; check the remote") from None
        out, err = (stream.decode(errors=_BYTES) for stream in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def blobs(self, objects: Iterable[str]) -> list[str | None]:
        """Return the text of each of *objects*, such as ``HEAD:README.md``; None where there is no such file.

        All are read by one process.
        """
        names = list(objects)
        if not names:
            return []
        answer = self.run("cat-file", "--batch", "--buffer", given="".join(f"{name}\n" for name in names))
        rest = answer.encode(errors=_BYTES)
        found: list[str | None] = []
        for _ in names:
            head, _, rest = rest.partition(b"\n")
            kind, _, size = head.decode(errors="replace").rpartition(" ")
            if not size.isdigit():  # "<name> missing"
                found.append(None)
                continue
            body, rest = rest[: int(size)], rest[int(size) + 1 :]
            found.append(body.decode(errors="replace") if kind.endswith(" blob") else None)
        return found


def source_commit() -> str | None:
    """Return the commit that a release is built from: the working folder's, or in a job the planned one."""
    return os.environ.get(COMMIT) or checkout_commit(Path())


def checkout_commit(folder: Path) -> str | None:
    """Return the commit of *folder*, with ``-dirty`` if tracked files changed; None without Git."""
    repository = Repository(folder)
    try:
        commit = repository.ask("rev-parse", "HEAD")
        if commit and repository.ask("status", "--porcelain", "--untracked-files=no"):
            return f"{commit}-dirty"
    except GitError:  # Git is not installed
        return None
    return commit or None


def said(output: str) -> str:
    """Return the line of Git's *output* that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))]
    return (telling or lines or [""])[0]
