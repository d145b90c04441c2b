"""Another release takes the place of the one that is served, without a lost request."""

import concurrent.futures
import itertools
import json
import shutil
import signal
import threading

import httpx
import pytest
from server_process import HELLO, Served, alive, descendants, eventually, start, stopped, write_release

from framework.core import metric_names as metrics
from framework.core.modelstore import push
from framework.core.release import Release

ROUTE = "/v1/chat/completions"


class Reloading:
    """A server, and the lock that it reads."""

    def __init__(self, folder, first, **options):
        self.folder, self.lock = folder, folder / "release.lock"
        port = write_release(first, "genai", "causal-lm", folder, max_new_tokens=200, **options)
        self.served = Served(start(folder), port)
        assert eventually(lambda: self.served.status("/ready") == 200)

    def release(self, **fields):
        """Write another lock, as a deployment does, and tell the server."""
        release = Release.read(self.lock).model_copy(update=fields)
        beside = self.folder / "next.lock"
        beside.write_text(release.text())
        beside.rename(self.lock)
        self.served.process.send_signal(signal.SIGHUP)
        return release

    def said(self):
        """Return what the server says about the last reload."""
        while not (line := self.served.process.stderr.readline()).startswith("reload: "):
            assert line, "the server has ended"
        return line

    def serves(self, release):
        return self.served.sample(metrics.RELEASE_INFO, f'digest="{release.digest}"') == 1

    def end(self):
        """End the server; return what it said."""
        self.served.process.terminate()
        return self.served.process.communicate(timeout=30)[1]


@pytest.fixture
def server(tiny_genai, tmp_path):
    running = Reloading(tmp_path, tiny_genai, cache={})
    yield running
    if running.served.process.poll() is None:
        running.end()


def changed(model, folder, name="note.txt", text="another"):
    """Publish a model with other bytes; return the fields of its release."""
    shutil.copytree(model, folder / "changed")
    (folder / "changed" / name).write_text(text)
    uri, digest = push(folder / "changed", f"{folder}/store")
    return {"model_uri": uri, "digest": digest}


def fingerprint(release):
    return f"fp_{release.digest.removeprefix('sha256:')[:12]}"


def ask(served, seed, name="tiny"):
    """Return the status, the fingerprints and the end of one stream."""
    body = {"model": name, "messages": HELLO, "stream": True, "temperature": 1.5, "seed": seed}
    answer = httpx.post(f"{served.url}{ROUTE}", json=body, timeout=60)
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    prints = {json.loads(line)["system_fingerprint"] for line in lines if line.startswith("{")}
    return answer.status_code, prints, lines[-1:]


def test_no_request_is_lost_while_another_release_takes_over(server, tiny_genai, tmp_path) -> None:
    served, first = server.served, Release.read(server.lock)
    (old_engine,) = descendants(served.process.pid)
    seeds, done = itertools.count(), threading.Event()

    def ask_on():
        answers = []
        while not done.is_set():
            answers.append(ask(served, next(seeds)))
        return answers

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        loops = [pool.submit(ask_on) for _ in range(6)]
        assert eventually(lambda: served.sample(metrics.IN_FLIGHT) > 3)
        second = server.release(**changed(tiny_genai, tmp_path))
        assert eventually(lambda: server.serves(second), 60)
        assert eventually(lambda: not alive(old_engine))
        done.set()
        answers = [answer for loop in loops for answer in loop.result()]
    assert {status for status, *_ in answers} == {200}
    assert {tuple(end) for *_, end in answers} == {("[DONE]",)}
    assert all(len(prints) == 1 for _, prints, _ in answers)
    assert set.union(*(prints for _, prints, _ in answers)) == {fingerprint(first), fingerprint(second)}
    assert ask(served, 0)[1] == {fingerprint(second)}
    assert not server.serves(first)
    assert served.sample(metrics.ENGINE_STARTS) == 1
    assert len(descendants(served.process.pid)) == 1


@pytest.mark.slow
def test_cache_and_name_follow_the_release(server, tiny_genai, tmp_path) -> None:
    served = server.served
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 4}
    answers = [httpx.post(f"{served.url}{ROUTE}", json=body) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == ["model", "memory"]
    second = server.release(name="renamed", **changed(tiny_genai, tmp_path))
    assert eventually(lambda: server.serves(second), 60)
    assert [model["id"] for model in httpx.get(f"{served.url}/v1/models").json()["data"]] == ["renamed"]
    assert httpx.post(f"{served.url}{ROUTE}", json=body).status_code == 404
    again = httpx.post(f"{served.url}{ROUTE}", json={**body, "model": "renamed"})
    assert again.headers["x-cache"] == "model"
    third = server.release(**changed(tiny_genai, tmp_path / "third", text="third"))
    assert eventually(lambda: server.serves(third), 60)
    # The folder of the second was fetched for the reload; the first one is the user's.
    digits = [release.digest.removeprefix("sha256:")[:12] for release in (second, third)]
    expected = {"model", f"model-{digits[1]}"}
    assert eventually(lambda: {path.name for path in tmp_path.glob("model*")} == expected)


def test_release_that_does_not_work_leaves_the_first(server, tiny_genai, tmp_path) -> None:
    served, first = server.served, Release.read(server.lock)
    broken = changed(tiny_genai, tmp_path, "genai_config.json", "{")
    other_routes = {**broken, "task": "sequence-classification"}
    unknown = {"model_uri": first.model_uri, "digest": f"sha256:{'a' * 64}", "task": first.task}
    for fields, reason in ((broken, "genai"), (other_routes, "other routes"), (unknown, "restore the store")):
        server.release(**fields)
        said = server.said()
        assert reason in said
        assert f"tiny {first.digest.removeprefix('sha256:')[:12]} goes on" in said
        assert ask(served, 1) == (200, {fingerprint(first)}, ["[DONE]"])
    server.lock.write_text("{")
    served.process.send_signal(signal.SIGHUP)
    assert "release.lock" in server.said()
    assert eventually(lambda: len(descendants(served.process.pid)) == 1)
    assert (served.status("/ready"), server.serves(first)) == (200, True)
    server.end()
    assert served.process.returncode == 0


def test_release_that_comes_during_the_first_load_is_announced(tiny_genai, tmp_path) -> None:
    port = write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    process = start(tmp_path)
    server = Reloading.__new__(Reloading)
    server.folder, server.lock, server.served = tmp_path, tmp_path / "release.lock", Served(process, port)
    try:
        assert eventually(lambda: server.served.status("/health") == 200)
        with stopped(server.served):  # the first model never answers
            assert server.served.status("/ready") == 503
            second = server.release(name="second", **changed(tiny_genai, tmp_path))
            assert eventually(lambda: server.serves(second) and server.served.status("/ready") == 200, 60)
    finally:
        said = server.end()
    lines = [line for line in said.splitlines() if f"127.0.0.1:{port}" in line]
    assert len(lines) == 3
    assert lines[0].startswith("serving second on")
    assert f"a page to try it: http://127.0.0.1:{port}/" in lines[1]
    assert '"model": "second"' in lines[2]


def test_same_model_is_not_loaded_again(server) -> None:
    engines = descendants(server.served.process.pid)
    server.release(metrics={"tuned.exact_match": 1.0})
    assert "the model is the same" in server.said()
    assert descendants(server.served.process.pid) == engines


def test_server_ends_in_the_middle_of_a_reload(server, tiny_genai, tmp_path) -> None:
    server.release(**changed(tiny_genai, tmp_path))
    assert eventually(lambda: len(descendants(server.served.process.pid)) == 2)
    engines = descendants(server.served.process.pid)
    server.end()
    assert server.served.process.returncode == 0
    assert eventually(lambda: not any(map(alive, engines)))


def test_completion_names_the_release_that_it_waited_for(server, tiny_genai, tmp_path) -> None:
    served, first = server.served, Release.read(server.lock)
    body = {"model": "tiny", "prompt": "hello", "max_tokens": 4}
    with concurrent.futures.ThreadPoolExecutor(1) as pool, stopped(served):
        asked = pool.submit(httpx.post, f"{served.url}/v1/completions", json=body, timeout=60)
        assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == 1)
        second = server.release(**changed(tiny_genai, tmp_path))
        assert eventually(lambda: server.serves(second), 60)
    assert asked.result().json()["system_fingerprint"] == fingerprint(first)
