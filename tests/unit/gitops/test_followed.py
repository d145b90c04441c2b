"""Which branch Argo CD follows, with real Git: a bare remote and clones of it."""

import os
import subprocess

import pytest

from framework.core.errors import GitError
from framework.core.git import Repository
from framework.delivery.environment.cluster import Cluster
from framework.gitops.argocd import render_files
from framework.gitops.followed import followed_branch, last_known_branch

ENVIRON = {
    **os.environ,
    **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
PLACES = [Cluster(name="dev", namespace="gitune-dev")]
SET = "environments/argocd/applicationset-gitune-dev.yaml"


def git(folder, *words):
    done = subprocess.run(
        ["git", *words], cwd=folder, env=ENVIRON, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder, branch, url="https://example.com/team/models.git", file=SET):
    """Commit the ApplicationSet that `run argocd branch=<branch>` writes."""
    settings = {
        "repo": url,
        "branch": branch,
        "server": "s",
        "namespace": "n",
        "environments": "environments",
        "admission": "policy",
    }
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(render_files(PLACES, settings)["applicationset-gitune-dev.yaml"])
    git(folder, "add", ".")
    git(folder, "commit", "-qm", f"Argo CD follows {branch}")


@pytest.fixture
def clone(tmp_path):
    """A repository without a remote: one commit on main, a feature branch checked out."""
    git(tmp_path, "init", "-q", "-b", "main", "clone")
    git(tmp_path / "clone", "commit", "-q", "--allow-empty", "-m", "first")
    git(tmp_path / "clone", "switch", "-qc", "feature")
    return tmp_path / "clone"


@pytest.fixture
def remote(clone, tmp_path):
    """The clone's bare remote, which has both branches."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "remote.git")
    git(clone, "remote", "add", "origin", str(tmp_path / "remote.git"))
    git(clone, "push", "-qu", "origin", "main", "feature")
    return tmp_path / "remote.git"


def followed(folder, base=None):
    found = followed_branch(Repository(folder), "environments", base)
    return found.remote, found.name


def test_remote_without_an_application_set_has_a_default_branch(clone, remote):
    assert git(clone, "for-each-ref", "refs/remotes/origin/HEAD") == ""  # as actions/checkout leaves it
    assert followed(clone) == ("origin", "main")
    git(clone, "checkout", "-q", "--detach")
    assert followed(clone) == ("origin", "main")
    git(remote, "symbolic-ref", "HEAD", "refs/heads/feature")
    assert followed(clone) == ("origin", "feature")


def test_application_set_on_the_default_branch_decides(clone, remote):
    git(clone, "switch", "-q", "main")
    commit(clone, "live")
    git(clone, "push", "-q")
    assert followed(clone) == ("origin", "live")
    git(clone, "switch", "-q", "feature")  # it has no ApplicationSet
    assert followed(clone) == ("origin", "live")
    commit(clone, "mine")
    assert followed(clone) == ("origin", "live")


def test_application_set_of_another_branch_is_read_where_it_is_checked_out(clone, remote):
    commit(clone, "feature")
    assert followed(clone) == ("origin", "feature")
    assert last_known_branch(Repository(clone), "environments") == "feature"


def test_head_as_the_revision_is_the_default_branch(clone, remote):
    commit(clone, "HEAD")
    assert followed(clone) == ("origin", "main")
    commit(clone, "refs/heads/live")
    assert followed(clone) == ("origin", "live")


def test_base_of_the_caller_wins(clone, remote):
    commit(clone, "live")
    assert followed(clone, "origin/feature") == ("origin", "feature")
    assert followed(clone, "refs/heads/next") == ("origin", "next")


def test_without_a_remote_the_application_set_decides(clone):
    assert followed(clone) == (None, "feature")
    commit(clone, "main")
    assert followed(clone) == (None, "main")
    git(clone, "checkout", "-q", "--detach")
    assert followed(clone) == (None, "main")


def test_remote_that_argo_cd_reads_is_preferred(clone, remote, tmp_path):
    git(clone, "remote", "add", "upstream", "git@example.com:team/models.git")
    git(clone, "config", f"url.{remote}.insteadOf", "git@example.com:team/models.git")
    assert followed(clone) == ("origin", "main")
    git(clone, "config", "--unset", f"url.{remote}.insteadOf")
    commit(clone, "main", "https://example.com/team/models")
    assert followed_branch(Repository(clone), "environments", "main").remote == "upstream"


def test_unknown_branch_is_an_error(clone, remote, tmp_path):
    commit(clone, "main")
    commit(clone, "live", file="environments/argocd/second.yaml")
    with pytest.raises(GitError, match="live, main; choose with base=<branch>"):
        followed(clone)
    assert followed(clone, "main") == ("origin", "main")
    git(clone, "rm", "-q", "-r", "environments")
    git(clone, "commit", "-qm", "None")
    git(remote, "symbolic-ref", "HEAD", "refs/heads/gone")
    with pytest.raises(GitError, match="origin: it has no default branch"):
        followed(clone)
    remote.rename(tmp_path / "elsewhere")
    with pytest.raises(GitError, match="origin: cannot be reached: fatal"):
        followed(clone)


def test_file_that_is_no_application_set_is_skipped(clone, remote):
    file = clone / SET
    file.parent.mkdir(parents=True)
    for text in (
        "kind: ApplicationSet\nspec: [",
        "kind: ApplicationSet\nspec: {template: 1}",
        "- ApplicationSet",
    ):
        file.write_text(text)
        git(clone, "add", ".")
        git(clone, "commit", "-qm", "broken")
        assert followed(clone) == ("origin", "main")


@pytest.mark.parametrize("places", [("origin",), ("upstream",), ("origin", "upstream")])
def test_checkout_without_an_application_set_does_not_lead_to_the_fork(clone, remote, tmp_path, places):
    """The fork is ``origin``; Argo CD reads ``upstream``."""
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "upstream.git")
    git(clone, "remote", "add", "upstream", str(tmp_path / "upstream.git"))
    git(clone, "push", "-q", "upstream", "main")
    git(clone, "switch", "-q", "main")
    commit(clone, "live", str(tmp_path / "upstream.git"))
    for name in places:
        git(clone, "push", "-q", name, "main")
    git(clone, "switch", "-q", "feature")
    found = followed_branch(Repository(clone), "environments")
    assert (found.remote, found.name) == ("upstream", "live" if "upstream" in places else "main")
    assert followed_branch(Repository(clone), "environments", "main").remote == "upstream"
    git(clone, "remote", "remove", "upstream")
    assert followed_branch(Repository(clone), "environments").remote == "origin"
