import hashlib
import os
import stat
import subprocess
from pathlib import Path

import pytest

from framework.core import filesystem as files
from framework.core.filesystem import cache_folder, remembered_sha256, sha256_of, tree_digest, write_whole


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GITUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "gitune"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gitune"


def test_hash_is_cached_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("one")
    reads = []
    monkeypatch.setattr(files, "sha256_of", lambda path: reads.append(path) or sha256_of(path))
    first = remembered_sha256(file)
    assert remembered_sha256(file) == first == hashlib.sha256(b"one").hexdigest()
    assert len(reads) == 1
    file.write_text("two")
    os.utime(file, ns=(1, 1))
    assert remembered_sha256(file) == hashlib.sha256(b"two").hexdigest()
    assert len(reads) == 2


def test_damaged_cache_entry_is_rehashed(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("one")
    remembered_sha256(file)
    (note,) = (cache / "hashes").iterdir()
    for torn in ("", "{", "[]", '{"stamp": 1}'):
        note.write_text(torn)
        assert remembered_sha256(file) == hashlib.sha256(b"one").hexdigest()


def test_unusable_cache_only_costs_time(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    file = tmp_path / "rows.jsonl"
    file.write_text("one")
    assert remembered_sha256(file) == hashlib.sha256(b"one").hexdigest()


def test_write_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "deep" / "release.lock"
    write_whole(file, "old\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o644

    def no_room(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "new\n")
    assert file.read_text() == "old\n"
    assert [path.name for path in file.parent.iterdir()] == ["release.lock"]


def test_line_endings_are_preserved(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "one\r\ntwo\n")
    assert (tmp_path / "a").read_bytes() == b"one\r\ntwo\n"


def test_tree_digest_matches_sha256sum(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "deep").mkdir(parents=True)
    (model / "b.txt").write_text("b")
    (model / "deep" / "a.txt").write_text("a")
    (model / "B.txt").write_text("B")
    command = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=model, capture_output=True, text=True, check=True)
    assert tree_digest(model) == "sha256:" + printed.stdout.split()[0]
    before = tree_digest(model)
    (model / "b.txt").rename(model / "c.txt")
    assert tree_digest(model) != before
