"""Downloads over HTTP, from a web server and from a hub, both on this machine."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

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
    """Return what a finished or refused download must not leave behind."""
    return [path.name for path in cache.glob("*") if path.suffix not in ("", ".lock")]


class Web:
    """A web server on a free port that counts what it is asked for."""

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
                """Stay silent."""

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
        said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert said[0] == said[1]
    assert Path(said[0].strip()).stat().st_size == 2_000_000
    assert web.asked.count("GET /big.bin") == 1


def test_a_killed_download_starts_again(cache: Path) -> None:
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


def test_a_missing_page_is_one_sentence(cache: Path) -> None:
    with Web({}) as web, pytest.raises(SourceError, match="neither file nor folder"):
        Source(url=f"{web.url}/none").fetch()
    with pytest.raises(SourceError, match="check network and credentials"):
        Source(url=f"{web.url}/none").fetch()
    assert leftovers(cache) == []


HUB_FILES = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"a pickle"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    pages = {f"/org/name/resolve/{COMMIT}/{name}": data for name, data in HUB_FILES.items()}
    pages |= {f"/org/name/resolve/main/{name}": data for name, data in HUB_FILES.items()}
    answer = {"id": "org/name", "sha": COMMIT, "siblings": [{"rfilename": name} for name in HUB_FILES]}
    tree = [
        {"type": "file", "path": name, "size": len(data), "oid": sha(data)[:40]}
        for name, data in HUB_FILES.items()
    ]
    for revision in ("main", COMMIT):
        pages[f"/api/models/org/name/revision/{revision}"] = json.dumps(answer).encode()
        for query in ("", "?recursive=True&expand=False", "?recursive=true&expand=false"):
            pages[f"/api/models/org/name/tree/{revision}{query}"] = json.dumps(tree).encode()
    kind = {"Content-Type": "application/json", "X-Repo-Commit": COMMIT}
    with Web(pages, kind) as web:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", web.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", web.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield web


def test_a_repository_is_fetched_without_pickles(hub: Web, cache: Path) -> None:
    source = Source(url="hf://org/name")
    got = source.fetch()
    assert sorted(path.name for path in got.rglob("*")) == ["config.json", "model.safetensors"]
    asked = len(hub.asked)
    assert source.fetch() == got
    assert len(hub.asked) == asked
    assert leftovers(cache) == []


def test_a_member_of_a_repository(hub: Web) -> None:
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
def test_what_the_hub_refuses(
    monkeypatch: pytest.MonkeyPatch, cache: Path, code: str, says: str, member: str
) -> None:
    from huggingface_hub import constants

    with Web({}, {"X-Error-Code": code}) as web:
        monkeypatch.setattr(constants, "ENDPOINT", web.url)
        with pytest.raises(SourceError, match=says) as caught:
            Source(url=f"hf://org/name@v9{member}").fetch()
    assert "\n" not in str(caught.value)


def test_a_member_that_is_not_there(hub: Web) -> None:
    with pytest.raises(SourceError, match=r"no member 'none\.json'"):
        Source(url="hf://org/name/none.json").fetch()


def test_no_hub_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    repository = Source(url="hf://org/name")
    for ask in (repository.fetch, repository.resolve, Source(url="hf://org/name@main/config.json").fetch):
        with pytest.raises(
            SourceError, match=r"the hub cannot be reached \(.*refused.*\); connect"
        ) as caught:
            ask()
        assert "\n" not in str(caught.value)
