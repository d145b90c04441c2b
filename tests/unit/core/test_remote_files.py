"""Downloads with fsspec: complete, verified, and fetched once."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.core.errors import SourceError
from framework.core.source import Source


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


def leftovers(cache: Path) -> list[str]:
    """Return the files that a download must not leave behind."""
    return [path.name for path in cache.glob("*") if path.suffix not in ("", ".lock")]


@pytest.fixture
def memory() -> Iterator[dict[str, bytes]]:
    """Return the files of fsspec's in-memory store."""
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe({"/box/a.txt": b"alpha", "/box/deep/b.txt": b"beta"})
    yield store
    store.rm("/", recursive=True)


def test_remote_file_and_folder_are_fetched_once(memory: object, cache: Path) -> None:
    import fsspec

    file, folder = Source(url="memory://box/a.txt"), Source(url="memory://box")
    assert file.fetch().read_text() == "alpha"
    assert file.fetch().name == "a.txt"
    got = folder.fetch()
    assert {p.relative_to(got).as_posix(): p.read_text() for p in got.rglob("*.txt")} == {
        "a.txt": "alpha",
        "deep/b.txt": "beta",
    }
    fsspec.filesystem("memory").rm("/box", recursive=True)
    assert file.fetch().read_text() == "alpha"
    assert folder.fetch() == got
    assert leftovers(cache) == []


def test_remote_fingerprint_needs_no_network() -> None:
    assert Source(url="s3://nowhere/x").fingerprint() == "s3://nowhere/x"
    assert Source(url="s3://nowhere/x", sha256="0" * 64).fingerprint() == "sha256:" + "0" * 64


def test_wrong_bytes_are_refused_and_leave_the_cache_intact(memory: object, cache: Path) -> None:
    import fsspec

    right = Source(url="memory://box/a.txt").resolve()
    assert right.sha256 == sha(b"alpha")
    kept = right.fetch()
    fsspec.filesystem("memory").pipe("/box/a.txt", b"evil")
    with pytest.raises(SourceError) as caught:
        Source(url=right.url, sha256=sha(b"wanted")).fetch()
    for word in (sha(b"wanted"), sha(b"evil"), right.url):
        assert word in str(caught.value)
    assert right.fetch() == kept
    assert kept.read_text() == "alpha"
    assert leftovers(cache) == []


@pytest.mark.parametrize("pinned", [True, False])
def test_tampered_copy_is_downloaded_again(memory: object, pinned: bool) -> None:
    source = Source(
        url="memory://box", sha256=Source(url="memory://box").resolve().sha256 if pinned else None
    )
    got = source.fetch()
    (got / "a.txt").write_text("tampered")
    (got / "deep" / "b.txt").unlink()
    assert source.fetch() == got
    assert (got / "a.txt").read_text() == "alpha"
    assert (got / "deep" / "b.txt").read_text() == "beta"


def test_irreplaceable_tampered_copy_is_not_used(memory: object) -> None:
    import fsspec

    source = Source(url="memory://box/a.txt")
    source.fetch().write_text("tampered")
    fsspec.filesystem("memory").rm("/box/a.txt")
    with pytest.raises(SourceError, match="no such file or folder"):
        source.fetch()


def test_missing_backend_names_its_package(cache: Path) -> None:
    script = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from framework.core.source import Source\n"
        "Source(url='s3://bucket/key').fetch()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last.endswith("s3:// needs a package that is not installed; run `pip install s3fs`")
    assert leftovers(cache) == []


def test_refusing_disk_is_a_one_line_error(
    memory: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match="set GITUNE_CACHE="):
        Source(url="memory://box/a.txt").fetch()
