"""Tells a model's process that hangs from one that is in a long native call.

The server asks the process's loop for a sign of life every few seconds. A process that computes may be late
with it, by as long as reading the longest prompts takes; one that does not compute either is dead.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

PERIOD = 10.0
"""Seconds between two looks."""
_SHARE = 0.01
"""Share of a core that a process uses at least if it computes; timers of idle libraries use less."""


class Pulse:
    """The signs of life of one process."""

    def __init__(self, timeout: float, cpu: Callable[[], float]) -> None:
        """Begin with a sign of life.

        Args:
            timeout: seconds without any sign after which the process is dead.
            cpu: returns the CPU seconds that the process has used; NaN if they are unknown.
        """
        self.timeout = timeout
        self.period = min(PERIOD, timeout / 4)
        self._cpu, self._used = cpu, 0.0
        self._silent = self._idle = 0.0
        self.hangs = False
        """Whether the process was found dead."""

    def heard(self) -> None:
        """Take note of a message of the process."""
        self._silent = self._idle = 0.0

    def look(self, longest_call: float) -> bool:
        """Return whether the process hangs; to be called once a ``period``.

        Looks are counted, not seconds: while the server itself was suspended, the process could not be heard.

        Args:
            longest_call: seconds that it may compute without a message, beyond the timeout.
        """
        before, self._used = self._used, self._cpu()
        self._silent += self.period
        self._idle += self.period
        if not self._used - before < _SHARE * self.period:  # also if it is unknown
            self._idle = 0.0
        self.hangs = self._idle >= self.timeout or self._silent >= self.timeout + longest_call
        return self.hangs


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of all threads of a process; NaN if they are unknown.

    >>> cpu_seconds(os.getpid()) >= 0, cpu_seconds(0)
    (True, nan)
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return math.nan
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
