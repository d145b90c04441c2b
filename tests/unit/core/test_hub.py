"""Downloads over HTTP from a local web server and a local hub."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from framework.build.data.files import Files
from framework.core.errors import SourceError
from framework.core.source import Source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


def leftovers(cache: Path) -> list[str]:
    """Return the files that a download must not leave behind."""
    return [path.name for path in cache.glob("*") if path.suffix not in ("", ".lock")]


class Web:
    """A web server on a free port that counts requests."""

    def __init__(self, pages: dict[str, bytes], headers: dict[str, str] | None = None) -> None:
        asked: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(f"{self.command} {self.path}")
                body = pages.get(self.path)
                self.send_response(404 if body is None else 200)
                fault = {"X-Error-Code": "EntryNotFound"} if body is None else {}
                for name, value in (fault | (headers or {})).items():
                    self.send_header(name, value)
                self.send_header("ETag", f'"{sha(body or b"")}"')
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.asked = asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> "Web":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


FETCH = "import sys; from framework.core.source import Source; print(Source(url=sys.argv[1]).fetch())"


def test_two_processes_download_once(cache: Path) -> None:
    with Web({"/big.bin": bytes(2_000_000)}) as web:
        command = [sys.executable, "-c", FETCH, f"{web.url}/big.bin"]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert outputs[0] == outputs[1]
    assert Path(outputs[0].strip()).stat().st_size == 2_000_000
    assert web.asked.count("GET /big.bin") == 1


def test_killed_download_starts_again(cache: Path) -> None:
    with Web({"/big.bin": bytes(2_000_000)}) as web:
        script = (
            "import os, sys; from framework.core import remote_files, source\n"
            "def half(url, into):\n"
            "    (into / 'big.bin').write_bytes(b'half'); os.kill(os.getpid(), 9)\n"
            "remote_files.get = half; source.Source(url=sys.argv[1]).fetch()"
        )
        killed = subprocess.run([sys.executable, "-c", script, f"{web.url}/big.bin"], check=False)
        assert killed.returncode == -9
        assert leftovers(cache) != []
        assert Source(url=f"{web.url}/big.bin").fetch().stat().st_size == 2_000_000
    assert leftovers(cache) == []


def test_missing_page_is_a_one_line_error(cache: Path) -> None:
    with Web({}) as web, pytest.raises(SourceError, match="no such file or folder"):
        Source(url=f"{web.url}/none").fetch()
    with pytest.raises(SourceError, match="check network and credentials"):
        Source(url=f"{web.url}/none").fetch()
    assert leftovers(cache) == []


HUB_FILES = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"a pickle"}


CARD = (
    b"---\nconfigs:\n- config_name: main\n  data_files: {train: original/*.jsonl, test: main/b.jsonl}\n---\n"
)
DATASET_FILES = {
    "README.md": CARD,
    "original/a.jsonl": b'{"text": "a"}\n',
    "main/b.jsonl": b'{"text": "b"}\n',
    "other/c.jsonl": b'{"text": "c"}\n',
}


def pages_of(kind: str, name: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return what a hub answers about a repository, by path."""
    prefix = "" if kind == "models" else f"/{kind}"
    answer = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": file} for file in files]}
    tree = [
        {"type": "file", "path": file, "size": len(data), "oid": sha(data)[:40]}
        for file, data in files.items()
    ]
    pages = {}
    for revision in ("main", COMMIT):
        pages |= {f"{prefix}/{name}/resolve/{revision}/{file}": data for file, data in files.items()}
        pages[f"/api/{kind}/{name}/revision/{revision}"] = json.dumps(answer).encode()
        for query in ("", "?recursive=True&expand=False", "?recursive=true&expand=false"):
            pages[f"/api/{kind}/{name}/tree/{revision}{query}"] = json.dumps(tree).encode()
    return pages


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    pages = pages_of("models", "org/name", HUB_FILES) | pages_of("datasets", "org/rows", DATASET_FILES)
    kind = {"Content-Type": "application/json", "X-Repo-Commit": COMMIT}
    with Web(pages, kind) as web:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", web.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", web.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield web


def test_data_set_is_read_by_subset_and_split(hub: Web) -> None:
    url = f"hf://datasets/org/rows@{COMMIT}"
    data = Files.model_validate({"train": url, "subset": "main", "split": "train", "test_split": "test"})
    assert [line.raw["text"] for line in data.read("train")] == ["a"]
    assert [(line.file, line.raw["text"]) for line in data.read("test")] == [(f"{url}/main/b.jsonl", "b")]
    assert [line.raw["text"] for line in Files(train=f"{url}/other/", test_fraction=0).read("train")] == ["c"]


def test_repository_is_fetched_without_pickles(hub: Web, cache: Path) -> None:
    source = Source(url="hf://org/name")
    got = source.fetch()
    assert sorted(path.name for path in got.rglob("*")) == ["config.json", "model.safetensors"]
    asked = len(hub.asked)
    assert source.fetch() == got
    assert len(hub.asked) == asked
    assert leftovers(cache) == []


def test_member_of_a_repository(hub: Web) -> None:
    got = Source(url="hf://org/name@main/model.safetensors", sha256=sha(b"weights")).fetch()
    assert got.read_bytes() == b"weights"
    with pytest.raises(SourceError, match="sha256 should be"):
        Source(url="hf://org/name@main/model.safetensors", sha256="0" * 64).fetch()


def test_resolve_writes_the_commit(hub: Web) -> None:
    found = Source(url="hf://org/name").resolve()
    assert found == Source(url=f"hf://org/name@{COMMIT}")
    assert found.pinned
    assert Source(url="hf://org/name@main/config.json").resolve().url == f"hf://org/name@{COMMIT}/config.json"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("GatedRepo", "is gated; accept its terms"),
        ("RepoNotFound", "no such repository, or it is private"),
        ("RevisionNotFound", "no revision 'v9'"),
    ],
)
@pytest.mark.parametrize("member", ["", "/config.json"])
def test_hub_refusals_are_one_line_errors(
    monkeypatch: pytest.MonkeyPatch, cache: Path, code: str, says: str, member: str
) -> None:
    from huggingface_hub import constants

    with Web({}, {"X-Error-Code": code}) as web:
        monkeypatch.setattr(constants, "ENDPOINT", web.url)
        with pytest.raises(SourceError, match=says) as caught:
            Source(url=f"hf://org/name@v9{member}").fetch()
    assert "\n" not in str(caught.value)


def test_missing_member_is_a_one_line_error(hub: Web) -> None:
    with pytest.raises(SourceError, match=r"no member 'none\.json'"):
        Source(url="hf://org/name/none.json").fetch()


def test_unreachable_hub_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    repository = Source(url="hf://org/name")
    for ask in (repository.fetch, repository.resolve, Source(url="hf://org/name@main/config.json").fetch):
        with pytest.raises(
            SourceError, match=r"the hub cannot be reached \(.*refused.*\); check the network"
        ) as caught:
            ask()
        assert "\n" not in str(caught.value)
