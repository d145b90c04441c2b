"""Sources: the form of URLs, and local files."""

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from framework.core.component import Component
from framework.core.errors import SourceError
from framework.core.filesystem import tree_digest
from framework.core.paths import SHARE
from framework.core.source import Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


class Holder(Component):
    source: Source


def test_plain_string_is_a_url_and_survives_the_dump() -> None:
    held = Holder.model_validate({"source": "file://x.txt"})
    assert held.source == Source(url="file://x.txt")
    assert Source.model_validate(held.source.dump()) == held.source


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("pypi://six", "pypi://name==version/member"),
        ("pypi://six==1.17.0", "pypi://name==version/member"),
        ("pypi://six==1.17.0/../x", "a path inside the package"),
        ("hf://bert", "hf://org/name@revision"),
        ("hf://datasets/squad", "hf://org/name@revision"),
        ("hf://a/b@main/../../x", "a path inside the repository"),
        ("htps://x/y", "did you mean 'https://'?"),
        ("qqqqqqqqqq://x/y", "use hf://, pypi://"),
        ("local:///etc/hosts", "unknown scheme 'local://'"),
        ("pypi:/six==1/x", "needs two slashes"),
        ("s3:bucket/x", "needs two slashes"),
        ("https://me:secret@x/y", "contains a password"),
        (" x", "without spaces"),
        ("", "should be a URL or a path"),
        ("file://", "should be a URL or a path"),
    ],
)
def test_invalid_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"source": url})
    (problem,) = caught.value.errors()
    assert problem["loc"] == ("source", "url")
    assert says in problem["msg"]
    assert "secret" not in problem["msg"]


@pytest.mark.parametrize("wrong", ["abc", "sha256:" + "0" * 64, "G" * 64])
def test_wrong_sha256_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="64 lower-case hex digits"):
        Source(url="x", sha256=wrong)


@pytest.mark.parametrize(
    ("source", "pinned"),
    [
        ({"url": "hf://a/b"}, False),
        ({"url": "hf://a/b@main"}, False),
        ({"url": f"hf://a/b@{COMMIT}"}, True),
        ({"url": f"hf://a/b@{COMMIT}/config.json"}, True),
        ({"url": "hf://a/b@main", "sha256": "0" * 64}, True),
        ({"url": "pypi://a==1/b"}, False),
        ({"url": "data.jsonl"}, True),
        ({"url": "s3://a/b"}, False),
    ],
)
def test_source_is_pinned(source: dict[str, str], pinned: bool) -> None:
    assert Source.model_validate(source).pinned is pinned


def test_share_folder_contains_the_frameworks_options() -> None:
    assert (SHARE / "conf" / "model").is_dir()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_local_file_is_fingerprinted_by_content(here: Path, prefix: str) -> None:
    source = Source(url=f"{prefix}rows.jsonl")
    (here / "rows.jsonl").write_text("one")
    assert source.fetch() == here / "rows.jsonl"
    assert source.fingerprint() == f"sha256:{sha(b'one')}"
    (here / "rows.jsonl").write_text("other")
    assert source.fingerprint() == f"sha256:{sha(b'other')}"


def test_local_folder_is_fingerprinted_over_its_files(here: Path) -> None:
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "b" / "x").write_text("1")
    source = Source(url=str(here / "a"))
    assert source.fingerprint() == tree_digest(here / "a")
    (here / "a" / "b" / "x").rename(here / "a" / "b" / "y")
    assert source.fingerprint() == tree_digest(here / "a") != Source(url="a/b").fingerprint()


def test_working_folder_takes_precedence(here: Path) -> None:
    source = Source(url="conf/model/tiny.yaml")
    assert source.fetch() == SHARE / "conf/model/tiny.yaml"
    (here / "conf" / "model").mkdir(parents=True)
    (here / "conf" / "model" / "tiny.yaml").write_text("mine")
    assert source.fetch() == here / "conf/model/tiny.yaml"


def test_missing_file_lists_locations_and_similar_names(here: Path) -> None:
    (here / "countries.jsonl").write_text("")
    with pytest.raises(SourceError) as caught:
        Source(url="countrys.jsonl").fingerprint()
    text = str(caught.value)
    assert str(here / "countrys.jsonl") in text
    assert str(SHARE / "countrys.jsonl") in text
    assert f"did you mean {here / 'countries.jsonl'}?" in text


def test_local_file_with_another_sha256_is_refused(here: Path) -> None:
    (here / "x").write_text("x")
    source = Source(url="x", sha256="0" * 64)
    for ask in (source.fetch, source.fingerprint):
        with pytest.raises(SourceError, match=f"should be {'0' * 64}, got {sha(b'x')}"):
            ask()
    assert Source(url="x").resolve() == Source(url="x", sha256=sha(b"x"))


def test_only_framework_files_are_shipped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    assert Source(url="recipes/data/tiny/train.jsonl").shipped
    assert not Source(url="rows.jsonl").shipped
    assert not Source(url=str(tmp_path / "rows.jsonl")).shipped
    assert not Source(url="s3://bucket/recipes/rows.jsonl").shipped
