"""Run the ``git`` command, and turn its failures into one-line errors.

It knows nothing about environments or releases. It never prompts for a password: a push uses the credentials
of Git's own configuration.
"""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from framework.core.errors import GitError

_BYTES = "surrogateescape"
"""Error handler that keeps bytes that are not UTF-8, so that sizes stay correct."""
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
"""``GIT_*`` variables that a hook exports; dropped so that the working folder selects the repository."""
_SETTINGS = (
    "core.quotePath=false",
    "log.showSignature=false",
    "log.follow=false",
    "log.showRoot=true",
    "diff.renames=false",
    "diff.relative=false",
    "status.renames=false",
    "trailer.separators=:",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    *(
        f"color.{part}=false"
        for part in ("ui", "branch", "diff", "status", "remote", "push", "transport", "advice")
    ),
)
"""Settings that change the output that callers parse; fixed, whatever the user's configuration says."""
_FIXED = [word for setting in _SETTINGS for word in ("-c", setting)]
_SECONDS = 300
"""Time limit of one command, in seconds; a server that hangs is an error."""


@dataclass(frozen=True)
class Repository:
    """A folder in a Git checkout, in which commands run."""

    folder: Path
    settings: tuple[str, ...] = ()
    """Settings of Git for these commands only, such as ``core.sparseCheckout=false``."""

    @classmethod
    def around(cls, folder: Path) -> "Repository":
        """Return *folder*, checked to be in a Git checkout.

        Raises:
            GitError: it is not, or Git is not installed.
        """
        repository = cls(folder)
        done = repository.attempt("rev-parse", "--is-inside-work-tree")
        if "safe.directory" in done.stderr:
            raise GitError(
                f"{folder.resolve()}: it belongs to another user, so Git does not trust it; allow it with "
                f"`git config --global --add safe.directory {folder.resolve()}`"
            )
        if done.stdout.strip() != "true":
            raise GitError(
                f"{folder.resolve()}: not a Git repository, and Git is the only way into a cluster; "
                "run this in a clone, or create one with `git init` and a first commit"
            )
        return repository

    @property
    def prefix(self) -> str:
        """The folder's path below the repository's root, with a trailing slash; empty at the root."""
        return self.run("rev-parse", "--show-prefix").strip()

    @property
    def branch(self) -> str | None:
        """The branch that is checked out; None for a detached HEAD."""
        return self.points_to("HEAD", "refs/heads/")

    def points_to(self, name: str, prefix: str) -> str | None:
        """Return the ref that the symbolic ref *name* points to without its *prefix*, or None if it is none.

        Git's own ``--short`` keeps a part of the prefix once a tag has the same name.
        """
        ref = self.ask("symbolic-ref", "--quiet", name)
        return ref.removeprefix(prefix) if ref else None

    def run(self, *words: str, stdin: str = "") -> str:
        """Return the output of ``git *words``.

        Raises:
            GitError: it fails; the message is Git's.
        """
        done = self.attempt(*words, stdin=stdin)
        if done.returncode:
            raise GitError(
                f"git {words[0]}: {error_line(done.stderr) or error_line(done.stdout) or 'it failed'}"
            )
        return done.stdout

    def ask(self, *words: str) -> str | None:
        """Return the output of ``git *words`` without surrounding white space, or None if it fails."""
        done = self.attempt(*words)
        return done.stdout.strip() if done.returncode == 0 else None

    def attempt(self, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run ``git *words`` and return the finished process, whether it failed or not.

        The user's configuration does not change the form of the output. Callers that parse paths still need
        ``-z``, since Git always quotes control characters, quotes and backslashes.

        Raises:
            GitError: Git is not installed or does not answer in time, or the folder does not exist.
        """
        kept = {key: value for key, value in os.environ.items() if key not in _HOOK_VARIABLES}
        own = [word for setting in self.settings for word in ("-c", setting)]
        try:
            done = subprocess.run(
                ["git", *_FIXED, *own, *words],
                cwd=self.folder,
                env={**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
                input=stdin.encode(),
                capture_output=True,
                timeout=_SECONDS,
                check=False,
            )
        except (FileNotFoundError, NotADirectoryError) as error:
            if error.filename == "git":
                raise GitError("git: command not found; install Git") from None
            raise GitError(f"{self.folder}: no such folder; name one that exists") from None
        except subprocess.TimeoutExpired:
            raise GitError(f"git {words[0]}: no answer within {_SECONDS} s; check the remote") from None
        out, err = (stream.decode(errors=_BYTES) for stream in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def blobs(self, objects: Iterable[str]) -> list[str | None]:
        """Return the text of each of *objects*, such as ``HEAD:README.md``; None if there is no such file.

        One process reads all of them.
        """
        names = list(objects)
        if not names:
            return []
        output = self.run("cat-file", "--batch", "--buffer", stdin="".join(f"{name}\n" for name in names))
        rest = output.encode(errors=_BYTES)
        texts: list[str | None] = []
        for _ in names:
            head, _, rest = rest.partition(b"\n")
            kind, _, size = head.decode(errors="replace").rpartition(" ")
            if not size.isdigit():  # "<name> missing"
                texts.append(None)
                continue
            body, rest = rest[: int(size)], rest[int(size) + 1 :]
            texts.append(body.decode(errors="replace") if kind.endswith(" blob") else None)
        return texts


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


def in_history(commit: str) -> bool:
    """Return whether *commit* leads to the working folder's; a shallow clone cannot deny it.

    One that is merely in this clone, such as those of a branch that was squashed, may be in no other.
    """
    repository = Repository(Path())
    known = repository.ask("merge-base", "--is-ancestor", commit, "HEAD") is not None
    return known or repository.ask("rev-parse", "--is-shallow-repository") == "true"


def on_remote(repository: Repository, commit: str, remote: str) -> bool:
    """Return whether a branch of *remote*, as last fetched, has *commit*; an empty *remote* is any."""
    listing = ("for-each-ref", "--count=1", "--contains", commit)
    return bool(repository.ask(*listing, f"refs/remotes/{remote}/" if remote else "refs/remotes/"))


def push_command(commit: str) -> str:
    """Return the command that pushes *commit*, which is checked out or below that.

    It is empty if a branch of a remote has the commit, or if there is no remote.
    """
    repository = Repository(Path())
    remotes = (repository.ask("remote") or "").split()
    if not remotes or on_remote(repository, commit, ""):
        return ""
    branch, remote = repository.branch, "origin" if "origin" in remotes else remotes[0]
    if branch is None:
        return f"git push {remote} HEAD:refs/heads/<branch>"
    has_upstream = repository.ask("rev-parse", "--verify", "--quiet", f"{branch}@{{upstream}}")
    return "git push" if has_upstream else f"git push -u {remote} {branch}"


def error_line(output: str) -> str:
    """Return the line of Git's *output* that states the error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "!"))]
    return (errors or lines or [""])[0]
