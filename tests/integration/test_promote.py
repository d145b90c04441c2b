"""Promotions with real Git: a bare remote and a team's clone."""

import os
from pathlib import Path

import pytest

from framework.core.release import LOCK

ROOT = Path(__file__).parents[2]


def test_promotion_is_one_commit_on_a_branch(gitops, run, clone, remote):
    before = gitops.state(clone)
    done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 0, done.stderr
    branch = f"promote/one-staging-{'a' * 12}"
    assert f"branch {branch}" in done.stdout
    assert f"{branch} to main" in done.stdout
    assert gitops.git(remote, "rev-list", "--count", f"main..{branch}") == "1"
    assert gitops.lock(remote, branch, "staging") == gitops.release("one", "a")
    message = gitops.git(remote, "show", "-s", "--format=%B", branch)
    assert "tuned.exact_match is 0.75" in message
    assert ">= 0.7" in message
    assert gitops.git(remote, "show", "-s", "--format=%(trailers:only)", branch).splitlines() == [
        "Gitune-Release: one",
        "Gitune-Environment: staging",
        f"Gitune-Digest: sha256:{'a' * 64}",
    ]
    changed = gitops.git(remote, "diff", "--name-only", "main", branch).splitlines()
    assert all(name.startswith("environments/staging/one/") for name in changed)
    assert "environments/staging/one/app.json" in changed
    assert gitops.state(clone) == before
    # Rendering changes nothing in the pushed commit, and a second promotion is refused.
    gitops.git(clone, "checkout", "-q", "--detach", f"origin/{branch}")
    again = run(clone, "render", "+recipe=served", "environment=staging")
    assert "nothing changed" in again.stdout, again.stdout + again.stderr
    gitops.git(clone, "checkout", "-q", "main")
    assert "already proposed" in gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")


def test_direct_promotion_lands_once(gitops, clone, remote):
    words = ("promote", "release=one", "from=dev", "to=staging", "push=direct")
    done = gitops.verb(clone, *words)
    assert done.returncode == 0, done.stderr
    assert gitops.lock(remote, "main", "staging") == gitops.release("one", "a")
    assert gitops.git(clone, "rev-parse", "HEAD") == gitops.git(remote, "rev-parse", "main")
    assert gitops.git(clone, "status", "--porcelain") == ""
    assert "nothing to promote" in gitops.refused(clone, *words)


def test_commit_that_the_remote_lacks_is_named(gitops, clone, remote):
    origin = {"commit": "c" * 40, "overrides": (), "clean": True}
    gitops.put(clone, gitops.release("one", "b").model_copy(update=origin))
    gitops.git(clone, "push", "-q")
    done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 0, done.stderr
    assert "no branch of origin has commit cccccccccccc" in done.stderr
    message = gitops.git(remote, "show", "-s", "--format=%B", f"promote/one-staging-{'b' * 12}")
    assert "no branch of origin has commit cccccccccccc" in message


@pytest.mark.slow
def test_branch_stays_local_without_a_remote(gitops, clone):
    done = gitops.verb(clone, "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 0, done.stderr
    assert "git merge promote/one-staging" in done.stdout
    assert gitops.git(clone, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    gitops.git(clone, "merge", "-q", f"promote/one-staging-{'a' * 12}")
    done = gitops.verb(clone, "promote", "release=one", "from=staging", "to=production", "push=direct")
    assert done.returncode == 0, done.stderr
    assert gitops.lock(clone, "main", "production") == gitops.release("one", "a")
    assert gitops.git(clone, "status", "--porcelain") == ""


@pytest.mark.slow
def test_pull_request_is_opened_with_gh(gitops, clone, remote, tmp_path, monkeypatch):
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
    arguments = (tmp_path / "words").read_text().splitlines()
    assert arguments == [
        "pr",
        "create",
        "--base",
        "main",
        "--head",
        branch,
        "--title",
        title,
        "--body-file",
        "-",
    ]
    assert f"Gitune-Digest: sha256:{'a' * 64}" in (tmp_path / "body").read_text()
    tool.write_text("#!/bin/sh\necho 'not logged in' >&2\nexit 4\n")
    done = gitops.verb(clone, "promote", "release=two", "from=dev", "to=staging")
    assert done.returncode == 0
    assert "(not logged in)" in done.stdout


@pytest.mark.slow
def test_concurrent_promotions_all_land(gitops, clone, remote, tmp_path, start):
    clones = [clone, tmp_path / "second", tmp_path / "third"]
    for folder in clones[1:]:
        gitops.git(tmp_path, "clone", "-q", str(remote), str(folder))
    names = ("one", "two", "three")
    started = [
        start(folder, "promote", f"release={name}", "from=dev", "to=staging", "push=direct")
        for folder, name in zip(clones, names, strict=True)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], outputs
    assert [gitops.lock(remote, "main", "staging", name).name for name in names] == [*names]
    assert gitops.git(remote, "rev-list", "--count", "--min-parents=2", "main") == "0"
    for folder in clones:
        assert gitops.git(folder, "status", "--porcelain") == ""
        assert gitops.git(folder, "worktree", "list").count("\n") == 0


def test_edited_lock_is_refused(gitops, clone, remote):
    file = clone / "environments" / "dev" / "one" / LOCK
    file.write_text(file.read_text().replace("0.75", "0.95"))
    gitops.git(clone, "commit", "-qam", "better numbers")
    gitops.git(clone, "push", "-q")
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert error.startswith(f"environments/dev/one/{LOCK}: edited")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("release=one", "from=dev", "to=prod"), "environment: there is no option 'prod'"),
        (
            ("release=one", "from=dev", "to=staging", "environments=/tmp/environments"),
            "command line 'environments=/tmp/environments': ",
        ),
        (
            ("release=one", "from=qa", "to=staging"),
            "environments/qa/one/release.lock: ",
        ),
        (
            ("release=four", "from=dev", "to=staging"),
            "dev/one, dev/three, dev/two",
        ),
        (("release=one", "from=dev", "to=dev"), "command line 'to=dev': "),
        (("release=one", "from=dev"), "usage: run promote release=<release>"),
        (("release=one", "form=dev", "to=staging"), "did you mean 'from='?"),
        (("release=../one", "from=dev", "to=staging"), "command line 'release=../one': "),
        (("release=one", "from=dev", "to=staging", "push=force"), "branch, direct"),
        (("release=one", "from=dev", "to=staging", "base=next"), "origin: "),
    ],
)
def test_invalid_promotion_is_a_one_line_error(gitops, clone, remote, words, message):
    assert message in gitops.refused(clone, "promote", *words)


def test_dirty_tree_is_refused(gitops, clone, remote):
    (clone / "recipes" / "served.yaml").write_text("changed: here\n")
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert error.startswith("recipes/served.yaml: ")
    gitops.git(clone, "checkout", "-q", ".")
    (clone / "environments" / "dev" / "new").write_text("")
    error = gitops.refused(clone, "rollback", "release=one", "environment=dev")
    assert error.startswith("environments/dev/new: ")


def test_unpushed_commits_are_refused(gitops, clone, remote):
    gitops.put(clone, gitops.release("one", "b"))
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert "main: 1 commit" in error
    assert "`git push`" in error


def test_rejected_push_leaves_no_trace(gitops, clone, remote):
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'only the release team may push' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = gitops.git(remote, "for-each-ref")
    for push in ("branch", "direct"):
        error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging", f"push={push}")
        assert error.startswith("origin: ")
        assert "only the release team may push" in error
        assert ("push=branch" in error) == (push == "direct")  # a rule of the branch
    assert gitops.git(remote, "for-each-ref") == before


def test_missing_remote_or_repository_is_a_one_line_error(gitops, clone, remote, tmp_path, monkeypatch):
    remote.rename(tmp_path / "elsewhere.git")
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert error.startswith("origin: ")
    assert "fatal: " in error
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    done = gitops.verb(tmp_path / "plain", "promote", "release=one", "from=dev", "to=staging")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_missing_override_names_the_file_to_edit(gitops, clone, remote):
    recipe = clone / "recipes" / "served.yaml"
    recipe.write_text(recipe.read_text().partition("deployment:")[0])
    gitops.git(clone, "commit", "-qam", "no image")
    gitops.git(clone, "push", "-q")
    error = gitops.refused(clone, "promote", "release=one", "from=dev", "to=staging")
    assert "deployment.image=" in error
    assert "recipes/served.yaml" in error
    assert "conf/environment/staging.yaml" in error


def test_release_that_no_commit_gives_is_marked_or_refused(gitops, clone, remote):
    words = ("promote", "release=one", "from=dev", "to=staging")
    release = gitops.release("one", "b").model_copy(update={"overrides": ("training.epochs=7",)})
    gitops.put(clone, release)
    gitops.git(clone, "push", "-q")
    assert "with training.epochs=7" in gitops.refused(clone, *words)
    assert gitops.verb(clone, *words, "source=any").returncode == 0
    branch = f"promote/one-staging-{'b' * 12}"
    assert gitops.lock(remote, branch, "staging") == release
    message = gitops.git(remote, "show", "-s", "--format=%B", branch)
    assert "with training.epochs=7" in message
    assert "Gitune-Source: any" in message.splitlines()
    rendered = gitops.git(remote, "show", f"{branch}:environments/staging/one/deployment-one.yaml")
    assert "gitune.dev/overrides: training.epochs=7" in rendered


@pytest.mark.parametrize("written", ["recipe", "option"])
def test_no_verb_writes_into_an_environment_that_was_not_asked_for(gitops, clone, remote, written):
    file = clone / "conf" / "environment" / "staging.yaml"
    if written == "recipe":
        file = clone / "recipes" / "served.yaml"
        file.write_text(f"{file.read_text()}environment: {{name: production}}\n")
    else:
        file.write_text(file.read_text().replace("name: staging", "name: production"))
    gitops.git(clone, "commit", "-qam", "Another name")
    for digit in "bc":
        gitops.put(clone, gitops.release("one", digit), "staging")
    gitops.git(clone, "push", "-q")
    place = file.relative_to(clone).as_posix()
    for words in (
        ("promote", "release=one", "from=dev", "to=staging", "push=direct"),
        ("rollback", "release=one", "environment=staging"),
    ):
        error = gitops.refused(clone, *words)
        assert place in error
        assert "is 'production'" in error
    done = gitops.verb(clone, "status", "environment=staging")
    assert "is 'production'" in done.stdout
    lock = clone / "environments" / "staging" / "one" / "release.lock"
    lock.write_text(gitops.release("one", "d").text())
    assert "is 'production'" in gitops.refused(clone, "propose", "skip=a test")


def test_recipe_that_the_branch_lacks_is_named(gitops, clone, remote):
    release = gitops.release("one", "b").model_copy(update={"recipe": "later"})
    gitops.put(clone, release)
    gitops.git(clone, "push", "-q")
    for words in (
        ("promote", "release=one", "from=dev", "to=staging"),
        ("rollback", "release=one", "environment=dev", "to=bb"),
    ):
        if words[0] == "rollback":
            gitops.put(clone, gitops.release("one", "c"))
            gitops.git(clone, "push", "-q")
        error = gitops.refused(clone, *words)
        assert "recipes/later.yaml" in error
        assert "command line" not in error
    gitops.put(clone, release)
    assert "recipes/later.yaml" in gitops.verb(clone, "status", "release=one").stdout
