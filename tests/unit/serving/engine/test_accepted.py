"""Admission by expected wait, the order of requests, and what a lost engine does to them."""

import pytest

from framework.serving.api_error import ApiError
from framework.serving.engine import accepted as module
from framework.serving.engine.accepted import MOST, Accepted


def running(rate: float = 100, width: int = 2, window: int = 4, max_wait: float = 10):
    """Return accepted requests with an engine, and what it was sent."""
    accepted, sent = Accepted(max_wait), []
    accepted.started(sent.append, rate, width, window)
    return accepted, sent


def step(*events, work=0.0, seconds=0.0, full=False) -> dict:
    return {"events": list(events), "work": work, "seconds": seconds, "full": full}


def last(ticket) -> dict:
    return ticket.events.get_nowait()


def test_nothing_is_accepted_before_the_engine_is_ready() -> None:
    with pytest.raises(ApiError) as refusal:
        Accepted(10).admit()
    assert (refusal.value.status, refusal.value.code) == (503, "loading")
    assert refusal.value.headers() == {"Retry-After": "1"}


def test_expected_wait_is_the_time_until_a_row_is_free() -> None:
    accepted, _ = running(rate=100, width=2)
    accepted.add("a", 100)
    assert accepted.expected_wait() == 0
    short = accepted.add("b", 50)
    # Two rows share 100 tokens a second: 50 tokens of one take a second.
    assert accepted.expected_wait() == pytest.approx(1)
    accepted.add("c", 400)
    assert accepted.expected_wait() == pytest.approx(2)
    accepted.received(step((short.number, {"text": "x", "tokens": 25})))
    accepted.add("d", 400)
    assert accepted.expected_wait() == pytest.approx(8.5)
    accepted.received(step(work=1e6, seconds=5e3, full=True))  # twice the rate
    assert accepted.expected_wait() == pytest.approx(8.5 / 2, rel=1e-3)


def test_time_between_full_steps_counts_but_neither_a_pause_nor_a_hang(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def wait(*, pause: bool, between: float) -> float:
        accepted, _ = running(rate=1, width=1)
        first = accepted.add("a", 100)
        for _ in range(500):
            now[0] += between
            ended = {"finish_reason": "stop", "completion_tokens": 100}
            accepted.received(step(*([(first.number, ended)] if pause else []), work=1, seconds=1, full=True))
        accepted.remove(first)
        accepted.add("b", 100)
        return accepted.expected_wait()

    assert wait(pause=False, between=1.0) == pytest.approx(100, rel=0.01)
    assert wait(pause=False, between=1.5) == pytest.approx(150, rel=0.01)
    assert wait(pause=True, between=1.5) == pytest.approx(100, rel=0.01)
    assert wait(pause=False, between=3600) == pytest.approx(200, rel=0.01)


def test_refused_requests_learn_when_to_retry() -> None:
    accepted, _ = running(rate=10, width=1, max_wait=5)
    accepted.add("a", 50)
    accepted.admit()
    accepted.add("b", 80)
    with pytest.raises(ApiError) as refusal:
        accepted.admit()
    assert (refusal.value.status, refusal.value.headers()) == (429, {"Retry-After": "8"})
    many, _ = running(rate=1e9)
    with pytest.raises(ApiError):
        many.admit(MOST + 1)


def test_expected_tokens_are_learned_from_answers() -> None:
    accepted, _ = running()
    assert accepted.expected_tokens(256) == 256
    ticket = accepted.add("a", 256)
    accepted.received(step((ticket.number, {"finish_reason": "stop", "completion_tokens": 20})))
    assert accepted.expected_tokens(256) == 20
    assert accepted.expected_tokens(5) == 5


def test_engine_gets_requests_in_order_and_only_so_many() -> None:
    accepted, sent = running(window=2)
    first, second, third, fourth = (accepted.add(name, 10) for name in "abcd")
    assert [message["request"] for message in sent] == ["a", "b"]
    accepted.remove(first)  # its client has gone
    assert sent[2:] == [{"number": first.number}, {"number": third.number, "request": "c"}]
    accepted.received(step((second.number, {"finish_reason": "stop", "completion_tokens": 1})))
    accepted.remove(second)
    assert sent[4:] == [{"number": fourth.number, "request": "d"}], "an answered request is not canceled"
    assert last(second)["finish_reason"] == "stop"


def test_lost_engine_fails_begun_requests_and_keeps_the_others_in_order() -> None:
    accepted, _ = running(window=2)
    begun, kept, waiting = (accepted.add(name, 10) for name in "abc")
    accepted.received(step((begun.number, {"prompt_tokens": 3})))
    assert accepted.lost_engine(retry_after=7) == (1, 2)
    last(begun)
    error = last(begun)
    assert (error["status"], error["retry_after"]) == (503, 7)
    assert accepted.expected_wait() >= 7
    sent: list[dict] = []
    accepted.started(sent.append, 100, 2, 2)
    assert [message["request"] for message in sent] == ["b", "c"]
    # The engine dies again: the request that was in both may be the cause.
    assert accepted.lost_engine(retry_after=7)[0] == 1
    assert last(kept)["status"] == 503
    assert waiting.events.empty()


def test_nothing_is_sent_to_an_engine_that_has_ended() -> None:
    accepted, sent = running(window=4)
    accepted.add("a", 1)
    accepted.pause()  # its process is not gone yet
    late, left = accepted.add("b", 1), accepted.add("c", 1)
    accepted.remove(left)
    assert [message["request"] for message in sent] == ["a"]
    accepted.lost_engine(retry_after=1)
    again: list[dict] = []
    accepted.started(again.append, 100, 4, 4)
    assert [message["request"] for message in again] == ["a", "b"]
    assert late.crashes == 0


def test_all_can_be_ended() -> None:
    accepted, _ = running()
    done, open_ = accepted.add("a", 1), accepted.add("b", 1)
    accepted.received(step((done.number, {"finish_reason": "stop", "completion_tokens": 1})))
    assert accepted.fail_all(ApiError(503, "over", retry_after=1)) == 1
    assert last(open_)["error"]["message"] == "over"
    with pytest.raises(ApiError, match="over"):
        accepted.admit()
    accepted.lost_engine(retry_after=1)
    accepted.started(print, 100, 2, 2)
    with pytest.raises(ApiError, match="over"):
        accepted.admit()
