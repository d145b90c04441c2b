import os
import signal
import subprocess
import sys
import threading

import pytest

from framework.core.signals import exit_with_signal, handle_signals, handling_signals, ignore_signals


def test_handlers_last_as_long_as_the_block() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    received: list[int] = []
    with handling_signals(received.append):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGTERM, signal.SIGINT]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_error_of_the_handler_leaves_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped, handling_signals(exit_with_signal):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


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
