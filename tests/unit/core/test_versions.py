"""Versions in the model store, and which of them pruning removes."""

import os
import subprocess
from pathlib import Path

import fsspec
import pytest

from framework.core import evidence
from framework.core.errors import ReleaseError, SourceError
from framework.core.modelstore import pull, push
from framework.core.release import LOCK, Release
from framework.core.versions import find, needed_by, prune, record

TINY = Release.read(Path(__file__).parents[2] / "golden" / "tiny.lock")


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    yield f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path.name}/store"
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()


def publish(url, tmp_path, number, name="tiny", text=None):
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_text(text or f"{name} {number}")
    uri, digest = push(folder, url)
    changed = {"name": name, "plan": f"{number:064x}", "model_uri": uri, "digest": digest}
    release = TINY.model_copy(update=changed)
    place = record(url, release)
    if url.startswith("file"):  # file systems stamp coarsely
        os.utime(place.removeprefix("file://"), (1_000_000 + number, 1_000_000 + number))
    return release


def is_there(release, tmp_path):
    try:
        pull(release.model_uri, release.digest, tmp_path / "fetched" / release.plan)
    except SourceError:
        return False
    return True


def keys(url, name="tiny"):
    store, root = fsspec.core.url_to_fs(f"{url}/releases/{name}")
    return {int(path.rpartition("/")[2].removesuffix(".lock"), 16) for path in store.find(root)}


def test_pruning_keeps_the_newest_versions(url, tmp_path):
    made = [publish(url, tmp_path, number) for number in range(1, 6)]
    other = publish(url, tmp_path, 1, name="other")
    assert prune(url, "tiny", 3, frozenset()) == [f"{2:064x}", f"{1:064x}"]
    assert keys(url) == {3, 4, 5}
    assert [is_there(each, tmp_path) for each in (*made, other)] == [False, False, True, True, True, True]
    assert prune(url, "tiny", 3, frozenset()) == []


def test_pruning_removes_the_evidence_with_the_model(url, tmp_path):
    old, new = (publish(url, tmp_path, number) for number in (1, 2))
    for release in (old, new):
        evidence.keep(evidence.address(release), {"README.md": "card", "a/b": "c"})
    prune(url, "tiny", 1, frozenset())
    found = [evidence.find(evidence.address(release), "README.md") for release in (old, new)]
    assert found == [None, b"card"]
    assert not fsspec.core.url_to_fs(url)[0].exists(evidence.model_address(old))


@pytest.mark.parametrize("link", ["store", "store/releases", "store/releases/tiny"])
def test_old_versions_below_a_link_are_removed(tmp_path, link):
    """Someone moved the folder to another disk."""
    url = f"file://{tmp_path}/store"
    made = [publish(url, tmp_path, number) for number in range(1, 4)]
    (tmp_path / link).rename(tmp_path / "elsewhere")
    (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    assert prune(url, "tiny", 1, frozenset()) == [f"{2:064x}", f"{1:064x}"]
    assert [is_there(each, tmp_path) for each in made] == [False, False, True]


def test_version_named_by_a_lock_is_kept(url, tmp_path):
    made = [publish(url, tmp_path, number) for number in range(1, 5)]
    needed = frozenset([made[0].plan, made[1].digest.removeprefix("sha256:")])
    assert prune(url, "tiny", 1, needed) == [f"{3:064x}"]
    assert [is_there(each, tmp_path) for each in made] == [True, True, False, True]


def test_model_of_another_version_is_kept(url, tmp_path):
    old = publish(url, tmp_path, 1, text="same")
    publish(url, tmp_path, 2, text="shared")
    other = publish(url, tmp_path, 2, name="other", text="shared")
    new = publish(url, tmp_path, 3, text="same")
    assert old.digest == new.digest
    assert prune(url, "tiny", 1, frozenset()) == [f"{2:064x}", f"{1:064x}"]
    assert is_there(new, tmp_path)
    assert is_there(other, tmp_path)


def test_republished_version_is_the_newest(tmp_path):
    url = f"file://{tmp_path}/store"
    publish(url, tmp_path, 2)
    publish(url, tmp_path, 3)
    place = record(url, publish(url, tmp_path, 1))
    assert place == f"{url}/releases/tiny/{1:064x}.lock"
    assert prune(url, "tiny", 1, frozenset()) == [f"{3:064x}", f"{2:064x}"]
    assert Release.read(Path(place.removeprefix("file://"))).plan == f"{1:064x}"


def test_pruning_an_empty_store_does_nothing(url):
    assert prune(url, "tiny", 1, frozenset()) == []


def git(folder, *words):
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *settings, *words], cwd=folder, capture_output=True, check=True)


def test_locks_are_read_from_the_folder_and_every_branch(tmp_path):
    environments = tmp_path / "environments"

    def lock(environment, plan):
        file = environments / environment / "tiny" / LOCK
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TINY.model_copy(update={"plan": plan * 64}).text())

    assert needed_by(environments) == frozenset()
    lock("dev", "a")
    assert "a" * 64 in needed_by(environments)
    git(tmp_path, "init", "-q", "-b", "main")
    assert "a" * 64 in needed_by(environments)  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "dev")
    git(tmp_path, "checkout", "-q", "-b", "other")
    lock("production", "b")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "production")
    git(tmp_path, "checkout", "-q", "main")
    lock("dev", "c")
    assert {"a" * 64, "b" * 64, "c" * 64} <= needed_by(environments)
    assert "d" * 64 not in needed_by(environments)


@pytest.mark.parametrize("team", ["", "tëam", 'te"am\\'])
def test_earlier_locks_are_needed_for_rollback(tmp_path, team):
    git(tmp_path, "init", "-q", "-b", "main")
    environments = tmp_path / team / "environments"
    for digit in "789abcd":
        file = environments / "production" / "tiny" / LOCK
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TINY.model_copy(update={"plan": digit * 64, "digest": f"sha256:{digit * 64}"}).text())
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", digit)
    git(tmp_path, "checkout", "-q", "--detach")
    git(tmp_path, "branch", "-q", "-D", "main")
    assert {digit for digit in "789abcd" if digit * 64 in needed_by(environments)} == {*"abcd"}


def test_version_is_found_by_its_plan(url, tmp_path):
    first, second = (publish(url, tmp_path, number) for number in (1, 2))
    assert [find(url, "tiny", release.plan) for release in (first, second)] == [first, second]
    assert find(url, "tiny", "f" * 64) is None
    assert find(url, "other", first.plan) is None


def test_edited_version_is_refused(tmp_path):
    url = f"file://{tmp_path}/store"
    release = publish(url, tmp_path, 1)
    lock = tmp_path / "store" / "releases" / "tiny" / f"{release.plan}.lock"
    lock.write_text(lock.read_text().replace('"recipe": "tiny"', '"recipe": "mine"'))
    with pytest.raises(ReleaseError, match="its seal does not match"):
        find(url, "tiny", release.plan)


def test_unreadable_store_is_a_one_line_error():
    with pytest.raises(SourceError, match=r"nowhere://models/releases/tiny/.* cannot read"):
        find("nowhere://models", "tiny", "f" * 64)
