"""The model's process stops without dying, or is too slow: the server finds it, and nobody waits forever."""

import concurrent.futures
import os
import signal
import time
from pathlib import Path

import httpx
import openai
import pytest
from server_process import HELLO, Served, alive, descendants, eventually, serving, stopped

from framework.core import metric_names as metrics

LONG = {"model": "tiny", "messages": HELLO, "temperature": 2, "seed": 1}
"""Sampled tokens rarely end early."""
ROUTE = "/v1/chat/completions"


def engine_of(served: Served) -> int:
    (engine,) = descendants(served.process.pid)
    return engine


def ask(served: Served, **fields: object) -> httpx.Response:
    return httpx.post(f"{served.url}{ROUTE}", json={**LONG, **fields}, timeout=60)


@pytest.fixture(scope="module")
def watched(tiny_genai: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server that soon finds a stopped process."""
    options = {"max_new_tokens": 200, "max_batch_size": 4, "max_wait_seconds": 60, "engine_timeout": 2}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path_factory.mktemp("watched"), **options) as served:
        yield served


def test_stopped_process_is_replaced_and_waiting_requests_go_on(watched: Served) -> None:
    starts = watched.sample(metrics.ENGINE_STARTS)
    for _ in range(50):  # an answer can end before the process is suspended
        begun = watched.client.chat.completions.create(**LONG, stream=True)
        next(iter(begun))
        engine = engine_of(watched)
        os.kill(engine, signal.SIGSTOP)  # and nobody continues it
        time.sleep(0.2)  # what was generated until now arrives
        if watched.sample(metrics.IN_FLIGHT) == 1:
            break
        os.kill(engine, signal.SIGCONT)
        list(begun)
    else:
        pytest.fail("every answer ended too early")
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, watched, max_tokens=8) for _ in range(3)]
        with pytest.raises(openai.APIError, match="process failed"):
            list(begun)
        assert watched.status("/health") == 200, "the server helps itself"
        answers = [answer.result() for answer in waiting]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert not alive(engine)
    assert watched.sample(metrics.ENGINE_STARTS) == starts + 1
    assert watched.status("/ready") == 200


@pytest.mark.slow
def test_process_that_stops_without_requests_is_replaced(watched: Served) -> None:
    starts, engine = watched.sample(metrics.ENGINE_STARTS), engine_of(watched)
    os.kill(engine, signal.SIGSTOP)
    assert eventually(lambda: watched.sample(metrics.ENGINE_STARTS) == starts + 1)
    assert not alive(engine)
    assert ask(watched, max_tokens=2).status_code == 200


@pytest.mark.slow
def test_idle_process_lives_on(watched: Served) -> None:
    engine = engine_of(watched)
    time.sleep(3)  # longer than the timeout
    assert engine_of(watched) == engine


@pytest.fixture(scope="module")
def impatient(tiny_genai: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server whose requests wait for a second at most; it answers one at a time."""
    options = {"max_wait_seconds": 60, "queue_timeout": 1, "max_new_tokens": 200}
    folder = tmp_path_factory.mktemp("impatient")
    with serving(tiny_genai, "genai", "causal-lm", folder, **options) as served:
        yield served


def test_accepted_request_does_not_wait_forever(impatient: Served) -> None:
    with stopped(impatient):
        late = ask(impatient, max_tokens=2)
        assert impatient.sample(metrics.WAITING) == impatient.sample(metrics.IN_FLIGHT) == 0
    assert (late.status_code, late.json()["error"]["code"]) == (503, "queue_timeout")
    assert int(late.headers["Retry-After"]) >= 1
    assert ask(impatient, max_tokens=2).status_code == 200


def test_client_that_leaves_frees_its_place(impatient: Served) -> None:
    generated = impatient.sample(metrics.COMPLETION_TOKENS)
    with stopped(impatient):
        for _ in range(5):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{impatient.url}{ROUTE}", json=LONG, timeout=0.2)
        assert eventually(lambda: impatient.sample(metrics.WAITING) == 0)
        assert impatient.sample(metrics.REQUESTS, 'code="499"') == 5
    assert ask(impatient, max_tokens=2).status_code == 200
    assert impatient.sample(metrics.COMPLETION_TOKENS) <= generated + 2
