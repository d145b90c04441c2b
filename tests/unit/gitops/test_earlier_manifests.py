"""Which earlier manifests can be restored, and what a merge says of history, with real Git."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from framework.core.git import Repository
from framework.core.release import Release
from framework.gitops.earlier_manifests import files_then
from framework.gitops.history import rolled_back_in, versions
from framework.gitops.proposal import trailers
from framework.render import HEADER, write

TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")
PATH = "environments/staging/one/release.lock"
KEYS = "staging/shared/externalsecret-keys.yaml"


def release(digit):
    return TINY.model_copy(update={"name": "one", "digest": f"sha256:{digit * 64}"})


def body(kind, name, **spec):
    metadata = {"name": name, "namespace": "here"}
    return HEADER + yaml.safe_dump({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})


def app(name, shared=(), namespace="here"):
    fields = {"environment": "staging", "name": name, "namespace": namespace}
    return json.dumps({**fields, **({"shared": list(shared)} if shared else {})}) + "\n"


def rendered(digit, port, name="one", store="vault", namespace="here"):
    """Return files as rendering does, of a release that shares a Secret."""
    return {
        f"staging/{name}/release.lock": release(digit).model_copy(update={"name": name}).text(),
        f"staging/{name}/app.json": app(name, ["externalsecret-keys.yaml"], namespace),
        f"staging/{name}/service-{name}.yaml": body("Service", name, port=port),
        "staging/shared/app.json": app("shared", namespace=namespace),
        KEYS: body("ExternalSecret", "keys", store=store),
    }


@pytest.fixture
def team(tmp_path):
    """A repository, and a function that commits files to it."""
    repository = Repository(tmp_path, ("user.name=a", "user.email=a@example.org", "commit.gpgsign=false"))
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=tmp_path, check=True)

    def commit(files, message="a commit"):
        write(files, tmp_path / "environments")
        repository.run("add", "-A")
        repository.run("commit", "-q", "--allow-empty", "-m", message)

    return repository, commit


def earlier(repository, fresh):
    """Return the files of release *a*, which ran before *b*, where *fresh* is rendered of it now."""
    version = next(each for each in versions(repository, "HEAD", PATH) if each.digest == release("a").digest)
    return files_then(repository, "environments", version, release("a"), fresh)


def test_files_of_then_come_with_their_shared_objects(team):
    repository, commit = team
    commit(rendered("a", 80))
    ran_at = repository.run("rev-parse", "HEAD").strip()
    commit(rendered("b", 90, store="other"))
    found = earlier(repository, rendered("a", 90, store="other"))
    assert (found.commit, found.reason) == (ran_at, "")
    assert found.files == rendered("a", 80)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ({"namespace": "moved"}, "namespace here"),
        ({"store": "other"}, "externalsecret-keys.yaml changed since"),
    ],
)
def test_files_of_then_that_would_not_do_are_refused_by_name(team, now, reason):
    repository, commit = team
    commit(rendered("a", 80))
    commit(rendered("b", 80, **now))
    commit(rendered("c", 80, name="two", **now))  # another release that shares the Secret as it is now
    found = earlier(repository, rendered("a", 80, **now))
    assert reason in found.reason
    assert found.files == {}


def test_what_argocd_would_refuse_or_was_never_rendered_is_not_restored(team):
    repository, commit = team
    commit({**rendered("a", 80), "staging/one/role-one.yaml": body("ClusterRole", "one")})
    commit(rendered("b", 80))
    assert "ClusterRole" in earlier(repository, rendered("a", 80)).reason
    commit({"staging/one/release.lock": release("a").text()})
    commit(rendered("b", 80))
    assert "no manifests" in earlier(repository, rendered("a", 80)).reason


def test_promotion_of_an_earlier_release_by_a_merge_is_no_rollback(team):
    repository, commit = team
    for digit in "ab":
        commit(rendered(digit, 80))
    repository.run("switch", "-qc", "proposal")
    commit(rendered("a", 80), f"Promote\n\n{trailers('one', 'staging', release('a').digest)}")
    repository.run("switch", "-q", "main")
    repository.run("merge", "-q", "--no-ff", "-m", "Merge pull request 7", "proposal")
    assert rolled_back_in(versions(repository, "HEAD", PATH), release("b").digest) == ""
    repository.run("switch", "-qc", "another")
    away = trailers("one", "staging", release("b").digest, rolled_back=release("a").digest)
    commit(rendered("b", 80), f"Roll back\n\n{away}")
    repository.run("switch", "-q", "main")
    repository.run("merge", "-q", "--no-ff", "-m", "Merge pull request 8", "another")
    merged = repository.run("rev-parse", "HEAD").strip()
    assert rolled_back_in(versions(repository, "HEAD", PATH), release("a").digest) == merged
