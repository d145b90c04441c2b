import signal
import subprocess
import sys
import threading

import pytest

from framework.core.signals import exit_with_signal, handle_signals, handling_signals, ignore_signals


def deliver(number: int) -> None:
    """Call the handler; a real signal would reach every library's thread in this process."""
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


def test_handlers_last_as_long_as_the_block() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    received: list[int] = []
    with handling_signals(received.append):
        deliver(signal.SIGTERM)
        deliver(signal.SIGINT)
    assert received == [signal.SIGTERM, signal.SIGINT]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_error_of_the_handler_leaves_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped, handling_signals(exit_with_signal):
        deliver(signal.SIGTERM)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_that_the_block_ignores_stay_ignored(environ: dict[str, str]) -> None:
    code = """
import os, signal
from framework.core.signals import handling_signals, ignore_signals
with handling_signals(print):
    os.kill(os.getpid(), signal.SIGINT)
    ignore_signals()
os.kill(os.getpid(), signal.SIGINT)
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()) == (0, [str(int(signal.SIGINT))])


def test_other_threads_install_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    installed = []

    def install() -> None:
        handle_signals(exit_with_signal)
        ignore_signals()
        with handling_signals(exit_with_signal):
            installed.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=install)
    thread.start()
    thread.join()
    assert installed == [before]


def test_the_exit_code_names_the_signal(environ: dict[str, str]) -> None:
    code = """
import os, signal
from framework.core.signals import exit_with_signal, handle_signals, ignore_signals
handle_signals(exit_with_signal, [signal.SIGTERM])
ignore_signals([signal.SIGINT])
os.kill(os.getpid(), signal.SIGINT)
os.kill(os.getpid(), signal.SIGTERM)
"""
    assert subprocess.run([sys.executable, "-c", code], env=environ, timeout=60).returncode == 143
