"""The model's process dies while the server runs."""

import concurrent.futures
import contextlib
import os
import signal
import time
from collections.abc import Iterator

import httpx
import openai
import pytest
from server_process import HELLO, Served, descendants, eventually, serving, stopped

from framework.core import metric_names as metrics
from framework.serving.engine.supervisor import DEATHS

LONG = {"model": "tiny", "messages": HELLO, "temperature": 2, "seed": 1}
"""Sampled tokens rarely end early."""


def kill_engine(served: Served) -> None:
    (engine,) = descendants(served.process.pid)
    os.kill(engine, signal.SIGKILL)


@contextlib.contextmanager
def stopped_within_an_answer(served: Served) -> Iterator[openai.Stream]:
    """Suspend the model's process while it generates; yield that answer's stream."""
    for _ in range(50):  # an answer can end before the process is suspended
        stream = served.client.chat.completions.create(**LONG, stream=True)
        next(iter(stream))
        with stopped(served):
            time.sleep(0.2)  # what was generated until now arrives
            if served.sample(metrics.IN_FLIGHT) == 1:
                yield stream
                return
        list(stream)
    pytest.fail("every answer ended too early")


def test_waiting_requests_go_on_and_begun_ones_fail(tiny_genai, tmp_path) -> None:
    options = {"max_new_tokens": 200, "max_batch_size": 4, "max_wait_seconds": 60}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path, **options) as served:
        url = f"{served.url}/v1/chat/completions"
        with concurrent.futures.ThreadPoolExecutor(6) as pool, stopped_within_an_answer(served) as begun:
            short = {**LONG, "max_tokens": 8}
            waiting = [pool.submit(httpx.post, url, json=short, timeout=60) for _ in range(6)]
            assert eventually(lambda: served.sample(metrics.IN_FLIGHT) == 7)
            kill_engine(served)
            with pytest.raises(openai.APIError, match="process failed"):
                list(begun)
            answers = [answer.result() for answer in waiting]
        assert [answer.status_code for answer in answers] == [200] * 6
        assert len({answer.json()["choices"][0]["message"]["content"] for answer in answers}) == 1
        assert served.sample(metrics.ENGINE_STARTS) == 2
        assert served.status("/ready") == 200
        served.process.terminate()
        _, errors = served.process.communicate(timeout=20)
        assert served.process.returncode == 0
        assert "Traceback" not in errors
        assert "SIGKILL" in errors
        assert "1 running requests failed, 6 waiting ones go on" in errors


@pytest.mark.slow
def test_server_gives_up_on_an_engine_that_always_dies(tiny_genai, tmp_path) -> None:
    with serving(tiny_genai, "genai", "causal-lm", tmp_path) as served:
        for death in range(DEATHS + 1):
            assert eventually(lambda starts=death + 1: served.sample(metrics.ENGINE_STARTS) == starts, 60)
            kill_engine(served)
        _, errors = served.process.communicate(timeout=20)
        assert served.process.returncode == 1
        assert "SIGKILL" in errors.splitlines()[-1]
        assert "Traceback" not in errors
