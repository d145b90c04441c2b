"""Promotions that are interrupted, or run in an unusual checkout, with real Git."""

import os
import signal
import time
from pathlib import Path

import pytest

from framework.core.git import Repository
from framework.gitops.worktree import temporary_worktree

ROOT = Path(__file__).parents[2]


def test_interrupted_promotion_leaves_no_trace(gitops, clone, remote, start, tmp_path):
    hook = clone / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/began\nexec sleep 5\n")
    hook.chmod(0o755)
    before = gitops.state(clone), gitops.git(remote, "for-each-ref")
    process = start(clone, "promote", "release=one", "from=dev", "to=staging")
    while process.poll() is None and not (tmp_path / "began").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    error, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM" in error
    assert error.count("\n") == 1
    assert (gitops.state(clone), gitops.git(remote, "for-each-ref")) == before


def test_worktree_of_a_killed_promotion_is_removed_by_the_next_command(
    gitops, clone, remote, start, tmp_path
):
    hook = clone / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/began\nexec sleep 5\n")
    hook.chmod(0o755)
    process = start(clone, "promote", "release=one", "from=dev", "to=staging")
    while process.poll() is None and not (tmp_path / "began").exists():
        time.sleep(0.05)
    repository = Repository(clone)
    with temporary_worktree(repository, "HEAD") as other:  # the first is still running
        trees = gitops.git(clone, "worktree", "list", "--porcelain")
        assert trees.count("worktree ") == 3
        process.kill()
        process.communicate(timeout=60)
        with temporary_worktree(repository, "HEAD"):
            now = gitops.git(clone, "worktree", "list", "--porcelain")
            assert now.count("worktree ") == 3  # this one instead of the killed one
            assert str(other.folder) in now
            assert (other.folder / "recipes").is_dir()
    (killed,) = (
        line.removeprefix("worktree ")
        for line in trees.splitlines()
        if line.startswith("worktree ") and line.removeprefix("worktree ") not in now
    )
    assert not Path(killed).parent.exists()
    assert gitops.git(clone, "worktree", "list").count("\n") == 0


def test_promotion_from_a_sparse_checkout_is_complete(gitops, clone, remote):
    gitops.git(clone, "update-index", "--refresh")  # the clone is a copy
    gitops.git(clone, "sparse-checkout", "set", "recipes", "conf", "environments/dev/one")
    assert not (clone / "environments" / "dev" / "two").exists()
    done = gitops.verb(clone, "promote", "release=two", "from=dev", "to=staging", "push=direct")
    assert done.returncode == 0, done.stderr
    assert gitops.lock(remote, "main", "staging", "two") == gitops.release("two", "a")
    files = gitops.git(remote, "ls-tree", "-r", "--name-only", "main").splitlines()
    assert "environments/dev/three/release.lock" in files  # nothing was lost
    assert not (clone / "environments" / "dev" / "two").exists()  # the caller's choice stays
    assert gitops.git(clone, "status", "--porcelain") == ""
    gitops.git(clone, "sparse-checkout", "set", "recipes", "conf")
    assert "git sparse-checkout add environments" in gitops.refused(clone, "status")


@pytest.mark.parametrize("link", ["environments", "environments/dev", "environments/dev/one"])
@pytest.mark.parametrize(
    "words",
    [
        ("promote", "release=one", "from=dev", "to=staging"),
        ("rollback", "release=one", "environment=dev"),
    ],
    ids=["promote", "rollback"],
)
def test_linked_folder_is_named(gitops, clone, remote, link, words):
    """Git stores a link, not what is below it, and Argo CD does not follow it."""
    folder = clone / link
    folder.rename(clone / "elsewhere")
    folder.symlink_to(os.path.relpath(clone / "elsewhere", folder.parent))
    gitops.git(clone, "add", "--all")
    gitops.git(clone, "commit", "-qm", "link")
    gitops.git(clone, "push", "-q")
    assert gitops.refused(clone, *words).startswith(f"{link}: a link")


@pytest.mark.slow
def test_only_the_environments_are_committed(gitops, clone, remote):
    """Files that the import of a plugin writes to the worktree are not committed."""
    (clone / "plugin").mkdir()
    (clone / "plugin" / "__init__.py").write_text("")
    (clone / "conf" / "config.yaml").write_text(
        (ROOT / "conf" / "config.yaml").read_text().replace("plugins: []", "plugins: [plugin]")
    )
    gitops.git(clone, "add", "plugin", "conf")
    gitops.git(clone, "commit", "-qm", "a plugin")
    gitops.git(clone, "push", "-q")
    done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging", "push=direct")
    assert done.returncode == 0, done.stderr
    changed = gitops.git(remote, "diff", "--name-only", "main^", "main").splitlines()
    assert all(name.startswith("environments/staging/one/") for name in changed)


def test_ignored_lock_is_committed(gitops, clone, remote):
    (clone / ".gitignore").write_text("*.lock\n")
    gitops.git(clone, "add", ".gitignore")
    gitops.git(clone, "commit", "-qm", "Ignore locks")
    gitops.git(clone, "push", "-q")
    words = ("release=one", "from=dev", "to=staging", "push=direct")
    # A shell's completion leaves the trailing slash.
    assert gitops.verb(clone, "promote", *words, "environments=environments/").returncode == 0
    assert gitops.lock(remote, "main", "staging") == gitops.release("one", "a")


def test_git_variables_of_a_hook_are_ignored(gitops, clone, remote, tmp_path, monkeypatch):
    before = gitops.state(clone)
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(tmp_path / "other"))
        patch.setenv("GIT_INDEX_FILE", str(clone / ".git" / "index"))
        done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 0, done.stderr
    assert gitops.state(clone) == before
