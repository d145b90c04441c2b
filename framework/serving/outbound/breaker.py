"""Stops calling a service that fails, and tries it again later."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class BreakerOpen(Exception):
    """A call was not made, because the ones before it failed."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"not called for {retry_after:.1f} s, because the calls before it failed")
        self.retry_after = retry_after
        """Seconds until a call is tried again."""


class Breaker:
    """Opens after some failures in a row; after a pause it lets one call through, whose result decides.

    Threads and event loops can share it.
    """

    def __init__(
        self, failures: int = 5, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = failures, seconds, clock
        self._lock = threading.Lock()
        self._row = 0
        self._opened: float | None = None
        self._on_trial = False

    @property
    def is_open(self) -> bool:
        """Whether the last word about the service is that it fails."""
        return self._opened is not None

    @contextmanager
    def watching(self, failures: tuple[type[BaseException], ...]) -> Iterator[None]:
        """Let the block call the service, and learn from how it ends.

        An exception that is not one of *failures*, such as a cancellation, says nothing about the service.

        Raises:
            BreakerOpen: the service is not to be called now.
        """
        trial = self._enter()
        failed: bool | None = None
        try:
            yield
            failed = False
        except failures:
            failed = True
            raise
        finally:
            self._leave(trial, failed)

    def _enter(self) -> bool:
        """Return whether this call is the one that decides about an open breaker."""
        with self._lock:
            if self._opened is None:
                return False
            left = self._opened + self._seconds - self._clock()
            if left > 0 or self._on_trial:
                raise BreakerOpen(max(left, 0.0))
            self._on_trial = True
            return True

    def _leave(self, trial: bool, failed: bool | None) -> None:
        with self._lock:
            if trial:
                self._on_trial = False
            elif self._opened is not None:
                return  # it began before the breaker opened
            if failed is None:
                return
            self._row = self._row + 1 if failed else 0
            if not failed:
                self._opened = None
            elif trial or self._row >= self._most:
                self._opened = self._clock()
