"""Clients that send slowly, too much, or over too many connections."""

import concurrent.futures
import contextlib
import socket
import time

import httpx
import pytest
from server_process import HELLO, Served, eventually, serving, stopped

from framework.core import metric_names as metrics
from framework.serving.limits import MAX_HEAD, MAX_HEADERS

ROUTE = "/v1/chat/completions"
HEAD = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n".encode()
MOST = 60


@pytest.fixture(scope="module")
def strict(tiny_genai, tmp_path_factory):
    """A server that waits a second for a request, and has few connections."""
    options = {"receive_seconds": 1, "keep_alive_seconds": 1, "max_connections": MOST}
    with serving(tiny_genai, "genai", "causal-lm", tmp_path_factory.mktemp("strict"), **options) as served:
        yield served


@contextlib.contextmanager
def connections(served: Served, number: int, sent: bytes = b""):
    """Open connections that have sent *sent*; yield them."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(number):
            opened.append(stack.enter_context(socket.create_connection(("127.0.0.1", served.port), 30)))
            opened[-1].sendall(sent)
        yield opened


def rest(connection: socket.socket) -> bytes:
    """Return what the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            received += piece
    return received


def answers(served: Served) -> bool:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 2}
    return httpx.post(f"{served.url}{ROUTE}", json=body).status_code == 200


def test_half_sent_bodies_are_closed_and_are_no_failures(strict: Served) -> None:
    before, timeouts = strict.sample(metrics.REQUESTS, 'code="499"'), strict.sample(metrics.TIMEOUTS)
    with connections(strict, 50, HEAD + b'\r\n{"model": ') as half:
        assert answers(strict)
        assert {rest(one).split(b"\r\n")[0] for one in half} == {b"HTTP/1.1 408 Request Timeout"}
    assert eventually(lambda: strict.sample(metrics.REQUESTS, 'code="499"') == before + 50)
    assert strict.sample(metrics.REQUESTS, 'code="5') == 0
    assert strict.sample(metrics.TIMEOUTS) == timeouts
    assert eventually(lambda: strict.sample(metrics.IN_FLIGHT) == 0)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (HEAD[:-9], b"HTTP/1.1 408 Request Timeout"),
        (HEAD + b"\r\n", b"HTTP/1.1 408 Request Timeout"),
    ],
    ids=["nothing", "head", "body"],
)
def test_trickle_does_not_move_the_deadline(strict: Served, sent: bytes, answer: bytes) -> None:
    with connections(strict, 1, sent) as (slow,), contextlib.suppress(BrokenPipeError, ConnectionResetError):
        slow.settimeout(0.2)
        ends, received = time.monotonic() + 30, None
        while received is None and time.monotonic() < ends:
            if sent:
                slow.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                received = slow.recv(65536)
        assert received is not None
        assert received.split(b"\r\n")[0] == answer


def test_body_that_nobody_reads_ends_as_well(strict: Served) -> None:
    """The answer comes before the body, which the server then no longer waits for."""
    with connections(strict, 1, HEAD.replace(ROUTE.encode(), b"/nowhere") + b"\r\nx") as (slow,):
        assert rest(slow).startswith(b"HTTP/1.1 404")


def test_answer_may_take_longer_than_a_request(strict: Served) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with stopped(strict):
            answer = pool.submit(answers, strict)
            time.sleep(1.5)
        assert answer.result()


def test_idle_connection_is_closed(strict: Served) -> None:
    with connections(strict, 1, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") as (idle,):
        assert rest(idle).startswith(b"HTTP/1.1 200")


def test_headers_are_bounded_in_size_and_number(strict: Served) -> None:
    long = httpx.get(f"{strict.url}/v1/models", headers={"X-Long": "x" * MAX_HEAD})
    assert (long.status_code, long.json()["error"]["type"]) == (431, "invalid_request_error")
    many = httpx.get(f"{strict.url}/v1/models", headers={f"X-{i}": "x" for i in range(MAX_HEADERS)})
    assert many.status_code == 431
    fine = httpx.get(f"{strict.url}/v1/models", headers={"X-Long": "x" * (MAX_HEAD // 2)})
    assert fine.status_code == 200
    with connections(strict, 1, HEAD + b"X-Long: ") as (endless,), contextlib.suppress(OSError):
        for _ in range(100):
            endless.sendall(b"x" * 2**16)
            time.sleep(0.01)
        pytest.fail("6 MiB of one header were read")
    assert answers(strict)


def test_probes_are_answered_when_there_are_too_many_connections(strict: Served) -> None:
    with connections(strict, MOST):
        refused = httpx.get(f"{strict.url}/v1/models")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_connections")
        assert (refused.headers["Retry-After"], refused.headers["Connection"]) == ("1", "close")
        assert strict.status("/health") == strict.status("/ready") == 200
    assert eventually(lambda: answers(strict))
    with connections(strict, 4 * MOST) as many:
        assert rest(many[-1]) == b""
    assert eventually(lambda: answers(strict))
