"""What a server refuses, and what it does not count as its own failure."""

import concurrent.futures
import socket

import httpx
import pytest
from server_process import HELLO, Served, eventually, serving, stopped

from framework.core import metric_names as metrics

ROUTE = "/v1/chat/completions"


@pytest.fixture(scope="module")
def bounded(tiny_genai, tmp_path_factory):
    """A server that answers one request at a time and lets few wait."""
    options = {"max_wait_seconds": 0.05, "max_new_tokens": 200}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path_factory.mktemp("bounded"), **options) as served:
        yield served


def test_request_that_would_wait_too_long_is_refused(bounded: Served) -> None:
    body = {"model": "tiny", "messages": HELLO, "temperature": 2, "seed": 1}
    with concurrent.futures.ThreadPoolExecutor(20) as pool, stopped(bounded):
        asked = [pool.submit(httpx.post, f"{bounded.url}{ROUTE}", json=body, timeout=60) for _ in range(20)]
        assert eventually(lambda: sum(answer.done() for answer in asked) >= 10)
    answers = [answer.result() for answer in asked]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert refused[0].json()["error"]["code"] == "overloaded"
    assert bounded.sample(metrics.REQUESTS, 'code="429"') == len(refused)
    assert httpx.post(f"{bounded.url}{ROUTE}", json={**body, "max_tokens": 2}).status_code == 200


def test_prompt_that_cannot_fit_is_refused_before_it_is_tokenized(bounded: Served) -> None:
    long = [{"role": "user", "content": "hello " * 3000}]
    with stopped(bounded):  # the process with the tokenizer
        answer = httpx.post(f"{bounded.url}{ROUTE}", json={"model": "tiny", "messages": long})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert str(16 * 256) in error["message"]


def test_aborted_uploads_are_no_failures(bounded: Served) -> None:
    timeouts = bounded.sample(metrics.TIMEOUTS)
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", bounded.port)) as connection:
            connection.sendall(head.encode() + b'{"model": ')
    assert eventually(lambda: bounded.sample(metrics.REQUESTS, 'code="499"') == 10)
    assert bounded.sample(metrics.REQUESTS, 'code="5') == 0
    assert bounded.sample(metrics.TIMEOUTS) == timeouts


def test_body_over_the_limit_is_refused_without_its_length(bounded: Served) -> None:
    def pieces():
        for _ in range(5 * 16):
            yield b" " * 2**16

    answer = httpx.post(f"{bounded.url}{ROUTE}", content=pieces())
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"
