"""Fairness between callers: the order in which their requests begin, and the wait that each is told."""

import random
from collections import Counter

import pytest

from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.engine import accepted as module
from framework.serving.engine.accepted import Accepted

FLOOD, OTHER, THIRD = Caller("flood"), Caller("other"), Caller("third")
HIGH, LOW = Caller("high", "high"), Caller("low", "low")


class Engine:
    """An engine that answers one request at a time, at 10 tokens a second."""

    def __init__(self, max_wait: float = 1e9) -> None:
        self.accepted, self.sent = Accepted(max_wait), []
        self.accepted.started(lambda message: self.sent.append(message), 10, 1, 1)

    def answer(self, tokens: int | None = None) -> str:
        """Answer the request in the engine, and return its payload; the next one is sent."""
        message = self.sent[-1]
        ticket = self.accepted._tickets[message["number"]]
        used = ticket.work if tokens is None else tokens
        last = {"finish_reason": "stop", "completion_tokens": used}
        event = (ticket.number, last)
        self.accepted.received({"events": [event], "work": 0, "seconds": 0, "full": False})
        self.accepted.remove(ticket)
        return message["request"]

    def answers(self, number: int) -> list[str]:
        return [self.answer() for _ in range(number)]

    def add(self, caller: Caller, work: float = 10, times: int = 1) -> None:
        for _ in range(times):
            self.accepted.add(caller.name, work, caller)


def test_a_flood_does_not_delay_others_beyond_their_share() -> None:
    engine = Engine()
    engine.add(FLOOD, times=100)
    engine.answers(30)
    engine.add(OTHER, times=3)
    assert engine.accepted.expected_wait(FLOOD) == pytest.approx(73)
    # One is in the engine, three of its own wait, and as many of the flood's.
    assert engine.accepted.expected_wait(OTHER) == pytest.approx(1 + 3 + 3, abs=1)
    assert engine.answers(7).count("other") == 3
    assert engine.accepted.expected_wait(OTHER) == pytest.approx(1, abs=1)


def test_share_is_of_tokens_not_of_requests() -> None:
    engine = Engine()
    engine.add(FLOOD, work=100, times=20)
    engine.add(OTHER, work=10, times=200)
    counts = Counter(engine.answers(110))
    assert counts["other"] == pytest.approx(100, abs=10)
    assert counts["flood"] == pytest.approx(10, abs=1)


def test_priority_is_a_share_and_nobody_starves() -> None:
    engine = Engine()
    for caller in (LOW, FLOOD, HIGH):
        engine.add(caller, times=300)
    counts = Counter(engine.answers(210))
    assert (counts["high"], counts["flood"], counts["low"]) == (160, 40, 10)


def test_what_was_expected_wrongly_is_corrected() -> None:
    engine = Engine()
    engine.add(FLOOD, times=100)
    engine.add(OTHER, times=100)
    counts: Counter[str] = Counter()
    for _ in range(60):
        name = engine.sent[-1]["request"]
        counts[engine.answer(tokens=50 if name == "flood" else 10)] += 1
    assert counts["other"] == pytest.approx(5 * counts["flood"], abs=5)


def test_nobody_saves_up_a_share_while_away() -> None:
    engine = Engine()
    engine.add(OTHER)
    engine.add(FLOOD, times=100)
    engine.answers(50)
    engine.add(OTHER, times=40)
    assert engine.answers(20).count("other") == pytest.approx(10, abs=1)


@pytest.mark.parametrize("caller", [FLOOD, OTHER, THIRD, HIGH, LOW], ids=lambda caller: caller.name)
def test_request_waits_as_long_as_it_was_told(caller: Caller) -> None:
    dice, engine, now = random.Random(1), Engine(), 0.0
    for _ in range(300):
        asker = dice.choices((FLOOD, OTHER, HIGH, LOW), (20, 2, 2, 1))[0]
        engine.accepted.add(asker.name, dice.randint(1, 40), asker)
    engine.answers(40)
    told = engine.accepted.expected_wait(caller)
    engine.accepted.add("probe", 10, caller)
    while engine.sent[-1]["request"] != "probe":
        now += engine.accepted._tickets[engine.sent[-1]["number"]].work / 10
        engine.answer()
    assert now == pytest.approx(told)


def test_requests_of_one_caller_keep_their_order() -> None:
    dice, engine = random.Random(2), Engine()
    for number in range(200):
        caller = dice.choice((FLOOD, OTHER, HIGH))
        engine.accepted.add((caller.name, number), dice.randint(1, 40), caller)
    begun = engine.answers(200)
    assert len(set(begun)) == 200
    for caller in (FLOOD, OTHER, HIGH):
        own = [number for name, number in begun if name == caller.name]
        assert own == sorted(own)


def test_admission_is_by_each_callers_own_wait() -> None:
    engine = Engine(max_wait=10)
    for _ in range(11):
        engine.accepted.admit(caller=FLOOD)
        engine.add(FLOOD)
    with pytest.raises(ApiError) as refusal:
        engine.accepted.admit(caller=FLOOD)
    assert refusal.value.retry_after == 1
    for _ in range(4):
        engine.accepted.admit(caller=OTHER)
        engine.add(OTHER)
    assert engine.accepted.expected_wait(OTHER) < 10 < engine.accepted.expected_wait(FLOOD)


def test_flood_leaves_room_for_others(monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST", 20)
    engine = Engine()
    for _ in range(20):
        engine.accepted.admit(caller=FLOOD)
        engine.add(FLOOD, work=1)
    with pytest.raises(ApiError):
        engine.accepted.admit(caller=FLOOD)
    engine.accepted.admit(10, caller=OTHER)
    with pytest.raises(ApiError):
        engine.accepted.admit(11, caller=OTHER)


def test_requests_of_a_lost_engine_come_first_again_and_are_not_charged_twice() -> None:
    engine = Engine()
    engine.add(FLOOD, times=5)
    engine.add(OTHER, times=5)
    engine.answer()
    lost = engine.sent[-1]["number"]
    engine.accepted.lost_engine(1)
    engine.accepted.started(lambda message: engine.sent.append(message), 10, 1, 1)
    assert engine.sent[-1]["number"] == lost
    assert Counter(engine.answers(7)) == {"flood": 3, "other": 4}


def test_clients_that_leave_the_queue_are_not_charged() -> None:
    engine = Engine()
    engine.add(FLOOD)
    gone = [engine.accepted.add("gone", 10, OTHER) for _ in range(20)]
    engine.add(FLOOD, times=10)
    for ticket in gone:
        engine.accepted.remove(ticket)
    engine.add(OTHER, times=5)
    assert engine.answers(11).count("other") == 5
