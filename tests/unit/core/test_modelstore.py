import hashlib
import os
import shutil
from pathlib import Path

import pytest

from framework.core.errors import SourceError
from framework.core.filesystem import tree_digest
from framework.core.modelstore import LIST, check, pull, push


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(os.urandom(5000))
    (folder / "deep" / "config.json").write_text("{}")
    return folder


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    yield f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path.name}/store"
    if request.param == "memory":
        import fsspec

        fsspec.filesystem("memory").store.clear()


def raw(uri, name):
    """Read or change the published bytes of one file."""
    import fsspec

    store, root = fsspec.core.url_to_fs(uri)
    return store, f"{root}/{name}"


def test_published_model_is_pulled_byte_for_byte(model, url, tmp_path) -> None:
    uri, digest = push(model, url)
    assert digest == tree_digest(model)
    assert uri == f"{url}/{digest.removeprefix('sha256:')}"
    pull(uri, digest, tmp_path / "fetched")
    assert tree_digest(tmp_path / "fetched") == digest


def test_digest_is_the_sha256_of_the_published_list(model, url) -> None:
    uri, digest = push(model, url)
    store, path = raw(uri, LIST)
    assert f"sha256:{hashlib.sha256(store.cat_file(path)).hexdigest()}" == digest


def test_second_push_copies_nothing(model, tmp_path) -> None:
    uri, _ = push(model, f"{tmp_path}/store")
    inode = Path(uri, "weights.bin").stat().st_ino
    assert push(model, f"{tmp_path}/store")[0] == uri
    assert Path(uri, "weights.bin").stat().st_ino == inode


def test_interrupted_publication_is_completed(model, url, tmp_path) -> None:
    uri, digest = push(model, url)
    for name in ("weights.bin", LIST):
        store, path = raw(uri, name)
        store.rm_file(path)
        push(model, url)
        pull(uri, digest, tmp_path / f"after-{name}")


def test_relative_store_is_below_the_working_folder(model, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri, digest = push(model, "file://.gitune/models")
    assert str(tmp_path) not in uri
    assert (tmp_path / ".gitune" / "models" / digest.removeprefix("sha256:") / LIST).is_file()
    pull(uri, digest, tmp_path / "fetched")


def test_altered_file_is_refused_and_leaves_nothing(model, url, tmp_path) -> None:
    uri, digest = push(model, url)
    store, path = raw(uri, "weights.bin")
    store.pipe_file(path, b"\0" * 5000)
    with pytest.raises(SourceError, match=r"weights\.bin: altered"):
        pull(uri, digest, tmp_path / "place" / "fetched")
    assert list((tmp_path / "place").iterdir()) == []


def test_altered_list_is_refused(model, url, tmp_path) -> None:
    uri, digest = push(model, url)
    store, path = raw(uri, LIST)
    store.pipe_file(path, b"")
    with pytest.raises(SourceError, match="the release needs"):
        pull(uri, digest, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_list_cannot_write_outside_the_folder(url, tmp_path) -> None:
    listing = f"{'0' * 64}  ../escaped\n".encode()
    digest = f"sha256:{hashlib.sha256(listing).hexdigest()}"
    store, path = raw(f"{url}/evil", LIST)
    store.makedirs(path.rpartition("/")[0], exist_ok=True)
    store.pipe_file(path, listing)
    with pytest.raises(SourceError, match="not a line that `sha256sum` prints"):
        pull(f"{url}/evil", digest, tmp_path / "place" / "fetched")


def test_pull_replaces_only_a_different_model(model, url, tmp_path) -> None:
    uri, digest = push(model, url)
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    (fetched / "old.bin").write_text("old")
    pull(uri, digest, fetched)
    assert tree_digest(fetched) == digest
    before = (fetched / "weights.bin").stat().st_ino
    pull("nowhere://at/all", digest, fetched)
    assert (fetched / "weights.bin").stat().st_ino == before


def test_missing_model_and_unknown_backend_are_one_line_errors(tmp_path) -> None:
    digest = f"sha256:{'0' * 64}"
    with pytest.raises(SourceError, match="no complete model there"):
        pull(f"file://{tmp_path}/none", digest, tmp_path / "fetched")
    with pytest.raises(SourceError, match="Protocol not known: nowhere"):
        pull("nowhere://at/all", digest, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_failed_push_leaves_no_model(model, tmp_path, monkeypatch) -> None:
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(SourceError, match="No space left on device"):
        push(model, f"{tmp_path}/store")
    assert list((tmp_path / "store").iterdir()) == []


def test_empty_folder_is_not_published(tmp_path) -> None:
    with pytest.raises(SourceError, match="contains no file"):
        push(tmp_path, f"{tmp_path}/store")


def test_mounted_model_is_only_checked(model, tmp_path) -> None:
    check(tree_digest(model), model)
    with pytest.raises(SourceError, match="the release needs sha256:0000"):
        check(f"sha256:{'0' * 64}", model)
    with pytest.raises(SourceError, match="this is sha256:e3b0c44"):  # nothing was mounted there
        check(tree_digest(model), tmp_path / "nowhere")
