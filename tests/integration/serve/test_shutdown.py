"""How a server ends: on signals, with and without running answers, and when it is killed."""

import concurrent.futures
import os
import signal
import socket
import time

import httpx
import pytest
from server_process import (
    HELLO,
    Served,
    alive,
    descendants,
    eventually,
    serving,
    start,
    stopped,
    write_release,
)

from framework.core import metric_names as metrics


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["process", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_leaves_no_child_and_no_port(tiny_genai, tmp_path, number, send) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        children = descendants(served.process.pid)
        assert len(children) == 1, "the model's process is the only child"
        send(served.process.pid, number)
        _, errors = served.process.communicate(timeout=20)
        assert (served.process.returncode, errors.count("\n")) == (0, 3)
        assert errors.startswith("serving tiny on")
        assert eventually(lambda: not any(map(alive, children)), 5)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # only a listener blocks the port
            probe.bind(("127.0.0.1", served.port))


def test_signal_while_loading_leaves_no_child(tiny_genai, tmp_path) -> None:
    port = write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    served = Served(start(tmp_path), port)
    assert eventually(lambda: served.status("/health") == 200)
    assert served.status("/ready") == 503
    waiting = httpx.post(f"{served.url}/v1/chat/completions", json={"model": "tiny", "messages": HELLO})
    assert (waiting.status_code, waiting.json()["error"]["code"]) == (503, "loading")
    children = descendants(served.process.pid)
    served.process.terminate()
    assert served.process.communicate(timeout=20)[1] == ""
    assert served.process.returncode == 0
    assert eventually(lambda: not any(map(alive, children)), 5)


def test_running_answer_finishes_after_sigterm(tiny_genai, tmp_path) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, max_new_tokens=200) as served:
        # Sampled tokens rarely end early, so the answer is still running when the signal arrives.
        options = {"max_tokens": 200, "temperature": 2, "seed": 5, "stream": True}
        stream = served.client.chat.completions.create(model="tiny", messages=HELLO, **options)
        next(iter(stream))
        served.process.send_signal(signal.SIGTERM)
        assert list(stream)[-1].choices[0].finish_reason in {"stop", "length"}
        assert served.process.wait(20) == 0


def test_engine_ends_with_a_server_that_is_killed_under_load(tiny_genai, tmp_path) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        body = {"model": "tiny", "messages": HELLO}
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with stopped(served) as engine:
                asked = pool.submit(httpx.post, f"{served.url}/v1/chat/completions", json=body, timeout=60)
                assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == 1)
                served.process.send_signal(signal.SIGSTOP)
            time.sleep(1)  # it writes what the server will never read
            served.process.kill()
            assert isinstance(asked.exception(), httpx.TransportError)
        assert eventually(lambda: not alive(engine), 10)


def test_every_accepted_request_is_answered_after_sigterm(tiny_genai, tmp_path) -> None:
    options = {"max_new_tokens": 100, "max_batch_size": 4, "max_wait_seconds": 60}
    body = {"model": "tiny", "messages": HELLO, "temperature": 2, "seed": 1}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        url = f"{served.url}/v1/chat/completions"
        with concurrent.futures.ThreadPoolExecutor(24) as pool, stopped(served) as engine:
            asked = [pool.submit(httpx.post, url, json=body, timeout=60) for _ in range(24)]
            assert eventually(lambda: served.sample(metrics.WAITING) == 24)
            served.process.terminate()
            assert eventually(lambda: served.status("/ready") == 503)
            refused = httpx.post(url, json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
            assert int(refused.headers["Retry-After"]) >= 1
            assert served.sample(metrics.REQUESTS, 'code="503"', 'refused="shutting_down"') == 1
            assert served.sample(metrics.REQUESTS, 'code="503"', 'refused=""') == 0, "no failure"
            os.kill(engine, signal.SIGCONT)
            assert [answer.result().status_code for answer in asked] == [200] * 24
        _, errors = served.process.communicate(timeout=20)
        assert served.process.returncode == 0
        assert "24 accepted requests ended, 0 were cut" in errors


@pytest.mark.slow
def test_what_the_grace_time_cuts_is_counted(tiny_genai, tmp_path) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, grace_seconds=0, max_batch_size=4) as served:
        body = {"model": "tiny", "messages": HELLO}
        url = f"{served.url}/v1/chat/completions"
        with concurrent.futures.ThreadPoolExecutor(3) as pool, stopped(served):
            asked = [pool.submit(httpx.post, url, json=body, timeout=60) for _ in range(3)]
            assert eventually(lambda: served.sample(metrics.WAITING) == 3)
            served.process.terminate()
            cut = [answer.result() for answer in asked]
        _, errors = served.process.communicate(timeout=20)
        assert [answer.status_code for answer in cut] == [503] * 3
        assert all("Retry-After" in answer.headers for answer in cut)
        assert {answer.json()["error"]["code"] for answer in cut} == {"cut"}, "a failure, not a refusal"
        assert served.process.returncode == 0
        assert "0 accepted requests ended, 3 were cut" in errors
