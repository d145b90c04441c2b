"""Signal handlers, and how a process that a signal ended is described.

Python delivers signals to the main thread only. In any other thread these functions install nothing.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What Ctrl-C, ``kill`` and Kubernetes send to stop a process."""


def handle_signals(handler: Callable[[int], object], signals: Iterable[int] = STOP_SIGNALS) -> None:
    """Call *handler* with the number of each of *signals* that arrives, from now on."""
    _install(lambda number, frame: handler(number), signals)


def ignore_signals(signals: Iterable[int] = STOP_SIGNALS) -> None:
    """Ignore *signals* from now on."""
    _install(signal.SIG_IGN, signals)


@contextlib.contextmanager
def handling_signals(
    handler: Callable[[int], object], signals: Iterable[int] = STOP_SIGNALS
) -> Iterator[None]:
    """Call *handler* with the number of each of *signals* that arrives while the block runs.

    An exception that *handler* raises leaves the block. The previous handlers are then restored, except
    where the block itself has installed another, such as by ``ignore_signals`` until the process ends.
    """

    def action(number: int, frame: object) -> None:
        handler(number)

    previous = _install(action, signals)
    try:
        yield
    finally:
        for number, before in previous.items():
            if signal.getsignal(number) is action:
                signal.signal(number, before)


def exit_with_signal(number: int) -> NoReturn:
    """Exit as the shell reports a signal: with 128 plus its number. Usable as a handler.

    Raises:
        SystemExit: always, so that ``finally`` blocks run.
    """
    raise SystemExit(128 + number)


def describe_exit(code: int) -> str:
    """Return how a child process ended, from its ``returncode``.

    >>> describe_exit(3), describe_exit(-15)
    ('exited with code 3', 'was ended by SIGTERM')
    >>> describe_exit(-9)
    'was ended by SIGKILL (often the out-of-memory killer)'
    """
    if code >= 0:
        return f"exited with code {code}"
    hint = " (often the out-of-memory killer)" if code == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-code).name}{hint}"


def _install(action: Any, signals: Iterable[int]) -> dict[int, Any]:
    """Install *action* for *signals*; return what was installed before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, action) for number in signals}
