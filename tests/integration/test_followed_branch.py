"""Verbs commit to the branch that Argo CD follows, whatever is checked out, with real Git."""

import pytest

WORDS = ("rollback", "release=one", "environment=dev")


@pytest.fixture
def feature(gitops, clone, remote):
    """A clone with two releases in dev, and a pushed feature branch checked out."""
    gitops.put(clone, gitops.release("one", "b"))
    gitops.git(clone, "push", "-q")
    gitops.git(clone, "switch", "-qc", "feature")
    (clone / "notes").write_text("mine\n")
    gitops.git(clone, "add", ".")
    gitops.git(clone, "commit", "-qm", "notes")
    gitops.git(clone, "push", "-qu", "origin", "feature")
    return clone


def deployed_digit(gitops, repository, branch="main"):
    return gitops.lock(repository, branch, "dev").digest[7]


def test_rollback_from_a_feature_branch_lands_on_main(gitops, feature, remote):
    before = {name: gitops.git(feature, "rev-parse", name) for name in ("HEAD", "origin/feature")}
    done = gitops.verb(feature, *WORDS)
    assert done.returncode == 0, done.stderr
    assert (deployed_digit(gitops, remote), deployed_digit(gitops, remote, "feature")) == ("a", "b")
    assert "on origin/main" in done.stdout
    assert [line for line in done.stdout.splitlines() if "feature" in line] == [
        "  feature is checked out here; it stays as it is"
    ]
    assert "180 s" in done.stdout
    assert before == {name: gitops.git(feature, "rev-parse", name) for name in before}
    assert gitops.git(feature, "status", "--porcelain", "--branch") == "## feature...origin/feature"
    # The local main is not checked out, so that it can follow.
    assert gitops.git(feature, "rev-parse", "main") == gitops.git(remote, "rev-parse", "main")


def test_promotion_with_a_detached_head_lands_on_main(gitops, feature, remote):
    gitops.git(feature, "checkout", "-q", "--detach")
    gitops.git(feature, "branch", "-q", "-D", "main")
    done = gitops.verb(feature, "promote", "release=one", "from=dev", "to=staging", "push=direct")
    assert done.returncode == 0, done.stderr
    assert gitops.lock(remote, "main", "staging").digest[7] == "b"
    assert "a detached HEAD is checked out here" in done.stdout
    assert gitops.git(feature, "branch", "--list", "main") == ""


def test_own_branch_of_argo_cd_gets_the_rollback(gitops, feature, remote):
    gitops.git(feature, "switch", "-q", "main")
    gitops.verb(feature, "argocd", "repo=https://example.com/team/models.git", "branch=live")
    gitops.verb(feature, "argocd", "repo=https://example.com/team/models.git")  # keeps the branch
    gitops.git(feature, "add", ".")
    gitops.git(feature, "commit", "-qm", "Argo CD")
    gitops.git(feature, "push", "-q", "origin", "main", "main:live")
    done = gitops.verb(feature, *WORDS)
    assert done.returncode == 0, done.stderr
    assert (deployed_digit(gitops, remote, "live"), deployed_digit(gitops, remote)) == ("a", "b")
    # A base of the caller's is obeyed, without a promise that no sync keeps.
    done = gitops.verb(feature, *WORDS, "base=main")
    assert deployed_digit(gitops, remote) == "a"
    assert "follows live" in done.stdout
    assert "180 s" not in done.stdout
    gitops.git(remote, "branch", "-q", "-D", "live")
    assert "applicationset-gitune-" in gitops.refused(feature, *WORDS)


def test_without_a_remote_the_linked_worktree_of_main_is_moved(gitops, clone, tmp_path):
    gitops.put(clone, gitops.release("one", "b"))

    gitops.verb(clone, "argocd", "repo=https://example.com/team/models.git", "branch=main")
    gitops.git(clone, "add", ".")
    gitops.git(clone, "commit", "-qm", "Argo CD")
    gitops.git(clone, "switch", "-qc", "feature")
    gitops.git(clone, "worktree", "add", "-q", str(tmp_path / "linked"), "main")
    done = gitops.verb(clone, *WORDS)
    assert done.returncode == 0, done.stderr
    assert (deployed_digit(gitops, clone), deployed_digit(gitops, clone, "feature")) == ("a", "b")
    for folder in (clone, tmp_path / "linked"):
        assert gitops.git(folder, "status", "--porcelain") == ""
