"""When a silent process counts as dead."""

import os
import subprocess
import sys
import time

import pytest

from framework.serving.engine.pulse import PERIOD, Pulse, cpu_seconds


class Clock:
    """The CPU time of a process."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def looks_until_dead(pulse: Pulse, clock: Clock, share: float, longest_call: float = 0) -> int:
    """Return after how many looks a process is dead that uses *share* of a core."""
    for looks in range(1, 1000):
        clock.seconds += share * pulse.period
        if pulse.look(longest_call):
            return looks
    pytest.fail("it was never found")


def test_process_that_does_not_compute_is_dead_after_the_timeout() -> None:
    clock = Clock()
    pulse = Pulse(120, clock)
    assert pulse.period == PERIOD
    assert looks_until_dead(pulse, clock, 0, longest_call=1e9) == 12
    assert pulse.hangs


def test_process_that_computes_may_be_late_by_its_longest_call() -> None:
    busy, idle, unknown = Clock(), Clock(), Clock()
    assert looks_until_dead(Pulse(120, busy), busy, 0.9, longest_call=300) == 42
    assert looks_until_dead(Pulse(120, idle), idle, 0.001, longest_call=300) == 12, "timers are no work"
    unknown.seconds = float("nan")
    assert looks_until_dead(Pulse(120, unknown), unknown, 0, longest_call=300) == 42


def test_message_is_a_sign_of_life() -> None:
    pulse = Pulse(4, Clock())
    assert pulse.period == 1
    for _ in range(20):
        assert not pulse.look(0)
        pulse.heard()
    assert [pulse.look(0) for _ in range(4)] == [False, False, False, True]


def test_cpu_seconds_of_real_processes() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        deadline = time.monotonic() + 30
        while cpu_seconds(busy.pid) < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert cpu_seconds(busy.pid) >= 0.2
    finally:
        busy.kill()
        busy.wait()
    assert not cpu_seconds(busy.pid) >= 0
    assert cpu_seconds(os.getpid()) > 0
