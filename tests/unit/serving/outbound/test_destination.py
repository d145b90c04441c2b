import asyncio
import socket

import pytest

from framework.serving.outbound.destination import Destination, Patience, Unreachable

QUICK = Patience(first_wait=0.001, failures=5, pause=60)


class Service:
    """A service that fails a number of times; its calls are connections to a port where nobody listens."""

    def __init__(self, failures):
        self.left, self.calls = failures, 0
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()

    def answer(self):
        self.calls += 1
        if self.left:
            self.left -= 1
            socket.create_connection(self.address)
        return "answer"

    async def answer_later(self):
        return self.answer()


@pytest.fixture
def outcomes():
    return []


@pytest.fixture(params=["async", "blocking"])
def call(request, outcomes):
    """Return a function that calls a service, either way, through one destination."""
    service = Destination("shop", (ConnectionError,), QUICK, lambda *seen: outcomes.append(seen))

    def either(answers):
        if request.param == "blocking":
            return service.call_blocking(answers.answer)
        return asyncio.run(service.call(answers.answer_later))

    return either


def test_call_is_tried_three_times(call, outcomes):
    assert call(Service(2)) == "answer"
    assert outcomes == [("shop", "failed"), ("shop", "failed"), ("shop", "ok")]
    service = Service(3)
    with pytest.raises(Unreachable, match=r"^shop: ConnectionRefusedError: ") as error:
        call(service)
    assert (service.calls, error.value.destination) == (3, "shop")


def test_service_that_keeps_failing_is_left_alone(call, outcomes):
    service = Service(100)
    for _ in range(3):
        with pytest.raises(Unreachable):
            call(service)
    assert service.calls == 5
    assert outcomes.count(("shop", "refused")) == 2


def test_refused_request_is_no_failure(call, outcomes):
    class Refusing(Service):
        def answer(self):
            self.calls += 1
            raise ValueError("no such key")

    service = Refusing(0)
    for _ in range(6):
        with pytest.raises(ValueError, match="no such key"):
            call(service)
    assert service.calls == 6
    assert outcomes == []
    assert call(Service(0)) == "answer"
