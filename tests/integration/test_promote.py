"""Promoting with real Git: a bare remote, a team's own clone, and all that may go wrong."""

import os
import signal
import time
from pathlib import Path

import pytest

from framework.core.release import LOCK

ROOT = Path(__file__).parents[2]


def test_a_promotion_is_one_commit_on_a_branch_and_renders_the_folder(gitops, run, clone, remote):
    before = gitops.state(clone)
    done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 0, done.stderr
    branch = f"promote/one-staging-{'a' * 12}"
    assert f"branch {branch}" in done.stdout
    assert f"open a pull request from {branch} to main" in done.stdout
    assert gitops.git(remote, "rev-list", "--count", f"main..{branch}") == "1"
    assert gitops.lock(remote, branch, "staging") == gitops.release("one", "a")
    message = gitops.git(remote, "show", "-s", "--format=%B", branch)
    assert "tuned.exact_match is 0.75, the gate asks for >= 0.7" in message
    assert gitops.git(remote, "show", "-s", "--format=%(trailers:only)", branch).splitlines() == [
        "Gitune-Release: one",
        "Gitune-Environment: staging",
        f"Gitune-Digest: sha256:{'a' * 64}",
    ]
    changed = gitops.git(remote, "diff", "--name-only", "main", branch).splitlines()
    assert all(name.startswith("environments/staging/one/") for name in changed)
    assert "environments/staging/one/app.json" in changed
    assert gitops.state(clone) == before
    # What was pushed is what rendering gives, and proposing it twice is refused.
    gitops.git(clone, "checkout", "-q", "--detach", f"origin/{branch}")
    again = run(clone, "render", "+recipe=served", "environment=staging")
    assert "nothing changed" in again.stdout, again.stdout + again.stderr
    gitops.git(clone, "checkout", "-q", "main")
    assert "proposed already" in gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")


def test_a_direct_promotion_lands_on_the_branch_and_is_not_done_twice(gitops, clone, remote):
    words = ("promote", "release=one", "from=dev", "to=staging", "push=direct")
    done = gitops.verb(clone, *words)
    assert done.returncode == 0, done.stderr
    assert gitops.lock(remote, "main", "staging") == gitops.release("one", "a")
    assert gitops.git(clone, "rev-parse", "HEAD") == gitops.git(remote, "rev-parse", "main")
    assert gitops.git(clone, "status", "--porcelain") == ""
    assert "nothing to promote" in gitops.refused(clone, *words)


@pytest.mark.slow
def test_without_a_remote_the_branch_stays_here(gitops, clone):
    done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 0, done.stderr
    assert "no remote to push to; merge it with: git merge promote/one-staging" in done.stdout
    assert gitops.git(clone, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    gitops.git(clone, "merge", "-q", f"promote/one-staging-{'a' * 12}")
    done = gitops.verb(clone, "promote", "release=one", "from=staging", "to=production", "push=direct")
    assert done.returncode == 0, done.stderr
    assert gitops.lock(clone, "main", "production") == gitops.release("one", "a")
    assert gitops.git(clone, "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_pull_request_is_opened_where_gh_is_there(gitops, clone, remote, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "gh"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\ncat > {tmp_path}/body\necho made/1\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert "pull request made/1" in done.stdout
    branch = f"promote/one-staging-{'a' * 12}"
    title = f"Promote one to staging: {'a' * 12}"
    said = (tmp_path / "words").read_text().splitlines()
    assert said == ["pr", "create", "--base", "main", "--head", branch, "--title", title, "--body-file", "-"]
    assert f"Gitune-Digest: sha256:{'a' * 64}" in (tmp_path / "body").read_text()
    tool.write_text("#!/bin/sh\necho 'not logged in' >&2\nexit 4\n")
    done = gitops.verb(clone, "promote", "release=two", "from=dev", "to=staging")
    assert done.returncode == 0
    assert "gh opened no pull request (not logged in); open a pull request from" in done.stdout


@pytest.mark.slow
def test_three_promotions_at_once_all_land(gitops, clone, remote, tmp_path, start):
    clones = [clone, tmp_path / "second", tmp_path / "third"]
    for folder in clones[1:]:
        gitops.git(tmp_path, "clone", "-q", str(remote), str(folder))
    names = ("one", "two", "three")
    started = [
        start(folder, "promote", f"release={name}", "from=dev", "to=staging", "push=direct")
        for folder, name in zip(clones, names, strict=True)
    ]
    ended = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    assert [gitops.lock(remote, "main", "staging", name).name for name in names] == [*names]
    assert gitops.git(remote, "rev-list", "--count", "--min-parents=2", "main") == "0"
    for folder in clones:
        assert gitops.git(folder, "status", "--porcelain") == ""
        assert gitops.git(folder, "worktree", "list").count("\n") == 0


def test_a_gate_that_is_missed_is_named(gitops, clone, remote):
    gitops.put(clone, gitops.release("one", "b", exact_match=0.6))
    gitops.git(clone, "push", "-q")
    said = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert (
        "one: it does not pass the gates of staging: tuned.exact_match is 0.6, the gate asks for >= 0.7"
        in said
    )


def test_an_edited_lock_is_refused(gitops, clone, remote):
    file = clone / "environments" / "dev" / "one" / LOCK
    file.write_text(file.read_text().replace("0.75", "0.95"))
    gitops.git(clone, "commit", "-qam", "better numbers")
    gitops.git(clone, "push", "-q")
    said = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert said.startswith(f"environments/dev/one/{LOCK}: edited: its seal does not fit")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("release=one", "from=dev", "to=prod"), "environment: there is no option 'prod'; "),
        (
            ("release=one", "from=dev", "to=staging", "environments=/tmp/environments"),
            "command line 'environments=/tmp/environments': name a folder below this one",
        ),
        (
            ("release=one", "from=qa", "to=staging"),
            "environments/qa/one/release.lock: no such lock on main; there",
        ),
        (
            ("release=four", "from=dev", "to=staging"),
            "no such lock on main; there are dev/one, dev/three, dev/two",
        ),
        (("release=one", "from=dev", "to=dev"), "the release is there already"),
        (("release=one", "from=dev"), "'to=' is missing; call it as: run promote release=<release>"),
        (("release=one", "form=dev", "to=staging"), "did you mean 'from='?"),
        (("release=../one", "from=dev", "to=staging"), "a name is lower-case letters, digits and dashes"),
        (("release=one", "from=dev", "to=staging", "push=force"), "should be one of branch, direct"),
        (("release=one", "from=dev", "to=staging", "base=next"), "origin: it has no branch next"),
    ],
)
def test_what_cannot_be_promoted_is_one_sentence(gitops, clone, remote, words, says):
    assert says in gitops.refused(clone, "promote", *words)


def test_a_dirty_tree_is_refused(gitops, clone, remote):
    (clone / "recipes" / "served.yaml").write_text("changed: here\n")
    said = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert said.startswith("recipes/served.yaml: changed but not committed")
    gitops.git(clone, "checkout", "-q", ".")
    (clone / "environments" / "dev" / "new").write_text("")
    said = gitops.refused(clone, "rollback", "release=one", "environment=dev")
    assert said.startswith("environments/dev/new: changed but not committed")


def test_commits_that_nobody_else_has_are_refused(gitops, clone, remote):
    gitops.put(clone, gitops.release("one", "b"))
    said = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert "main: 1 commits are not on origin yet; `git push`" in said


def test_a_push_that_is_rejected_leaves_all_as_it_was(gitops, clone, remote):
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'only the release team may push' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = gitops.git(remote, "for-each-ref")
    for push in ("branch", "direct"):
        said = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging", f"push={push}")
        assert said.startswith("origin: refused the push to ")
        assert "only the release team may push" in said
    assert gitops.git(remote, "for-each-ref") == before


def test_a_remote_that_is_gone_and_no_git_at_all_are_one_sentence(
    gitops, clone, remote, tmp_path, monkeypatch
):
    remote.rename(tmp_path / "elsewhere.git")
    said = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert said.startswith("origin: cannot be reached: fatal: ")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    done = gitops.verb(tmp_path / "plain", "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 1
    assert "not a Git repository" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_promotion_that_is_stopped_leaves_all_as_it_was(gitops, clone, remote, start, tmp_path):
    hook = clone / ".git" / "hooks" / "pre-commit"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/began\nexec sleep 5\n")
    hook.chmod(0o755)
    before = gitops.state(clone), gitops.git(remote, "for-each-ref")
    process = start(clone, "promote", "release=one", "from=dev", "to=staging")
    while process.poll() is None and not (tmp_path / "began").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said == "Stopped by SIGTERM; Git is as it was.\n"
    assert (gitops.state(clone), gitops.git(remote, "for-each-ref")) == before


@pytest.mark.slow
def test_only_the_environments_are_committed(gitops, clone, remote):
    """A team's own plugin, which is imported in the work tree, leaves nothing there."""
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


def test_a_lock_that_gitignore_names_lands_all_the_same(gitops, clone, remote):
    (clone / ".gitignore").write_text("*.lock\n")
    gitops.git(clone, "add", ".gitignore")
    gitops.git(clone, "commit", "-qm", "Ignore locks")
    gitops.git(clone, "push", "-q")
    words = ("release=one", "from=dev", "to=staging", "push=direct")
    # A slash at the end is what a shell's completion leaves.
    assert gitops.verb(clone, "promote", *words, "environments=environments/").returncode == 0
    assert gitops.lock(remote, "main", "staging") == gitops.release("one", "a")


def test_what_a_hook_is_told_of_its_own_repository_is_not_ours(gitops, clone, remote, tmp_path, monkeypatch):
    before = gitops.state(clone)
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(tmp_path / "other"))
        patch.setenv("GIT_INDEX_FILE", str(clone / ".git" / "index"))
        done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 0, done.stderr
    assert gitops.state(clone) == before


def test_what_the_tree_lacks_is_said_with_the_file_that_it_belongs_into(gitops, clone, remote):
    recipe = clone / "recipes" / "served.yaml"
    recipe.write_text(recipe.read_text().partition("deployment:")[0])
    gitops.git(clone, "commit", "-qam", "no image")
    gitops.git(clone, "push", "-q")
    said = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert "is not pinned by digest, which staging requires; set deployment.image=" in said
    assert said.endswith(
        "; write that into recipes/served.yaml or conf/environment/staging.yaml and commit it\n"
    )
