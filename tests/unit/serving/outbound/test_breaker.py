import asyncio

import pytest

from framework.serving.outbound.breaker import Breaker, BreakerOpen


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def fail(breaker):
    with pytest.raises(ConnectionError), breaker.watching((ConnectionError,)):
        raise ConnectionError


def succeed(breaker):
    with breaker.watching((ConnectionError,)):
        pass


def opened(clock, failures=5):
    breaker = Breaker(failures, 10, clock)
    for _ in range(failures):
        fail(breaker)
    return breaker


def test_five_failures_in_a_row_open_it(clock):
    breaker = Breaker(5, 10, clock)
    for _ in range(4):
        fail(breaker)
    succeed(breaker)
    for _ in range(4):
        fail(breaker)
    assert not breaker.is_open
    fail(breaker)
    assert breaker.is_open
    clock.now = 4
    with pytest.raises(BreakerOpen) as error:
        succeed(breaker)
    assert error.value.retry_after == 6


def test_one_call_decides_after_the_pause(clock):
    breaker = opened(clock)
    clock.now = 10
    with breaker.watching((ConnectionError,)):
        with pytest.raises(BreakerOpen):
            succeed(breaker)
        assert breaker.is_open
    assert not breaker.is_open
    succeed(breaker)


def test_failed_trial_begins_another_pause(clock):
    breaker = opened(clock)
    clock.now = 10
    fail(breaker)
    clock.now = 19
    with pytest.raises(BreakerOpen):
        succeed(breaker)
    clock.now = 20
    succeed(breaker)
    assert not breaker.is_open


def test_trial_that_says_nothing_leaves_room_for_the_next(clock):
    breaker = opened(clock)
    clock.now = 10
    for unrelated in (asyncio.CancelledError, KeyError):
        with pytest.raises(unrelated), breaker.watching((ConnectionError,)):
            raise unrelated
        assert breaker.is_open
    succeed(breaker)
    assert not breaker.is_open


def test_call_from_before_does_not_close_it(clock):
    breaker = Breaker(1, 10, clock)
    with breaker.watching((ConnectionError,)):
        fail(breaker)
    assert breaker.is_open
