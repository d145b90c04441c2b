"""One other service, as this process calls it."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from framework.core.errors import ServeError
from framework.serving.outbound.breaker import Breaker, BreakerOpen

Result = TypeVar("Result")
Outcome = Literal["ok", "failed", "refused"]
"""How a call ended; ``refused`` is one that the breaker did not let through."""


class Unreachable(Exception):
    """A service failed as often as it was tried, or is not tried at present."""

    def __init__(self, destination: str, reason: Exception) -> None:
        super().__init__(f"{destination}: {type(reason).__name__}: {reason}")
        self.destination = destination


@dataclass(frozen=True)
class Patience:
    """How long a failing service is tried."""

    attempts: int = 3
    """Most times that one call is tried."""
    first_wait: float = 0.1
    """Seconds before the second attempt, plus up to as much again by chance; doubled for each later one."""
    longest_wait: float = 2.0
    """Most seconds between two attempts."""
    failures: int = 5
    """After so many failed attempts in a row, whichever call they belong to, the service is left alone."""
    pause: float = 10.0
    """Seconds for which it is left alone; then one attempt decides."""


PATIENT = Patience()


class Destination:
    """Calls one service with retries, behind a breaker.

    Args:
        name: as in metrics and errors, such as ``redis``.
        failures: exceptions which mean that the service fails. Others pass through, and are not retried: a
            request that the service refuses is no failure of it.
        patience: how long it is tried.
        observe: called with the name and how each attempt ended.

    Raises:
        ServeError: the package stamina is not installed.
    """

    def __init__(
        self,
        name: str,
        failures: tuple[type[Exception], ...],
        patience: Patience = PATIENT,
        observe: Callable[[str, Outcome], object] = lambda name, outcome: None,
    ) -> None:
        if find_spec("stamina") is None:
            raise ServeError(f"calls to {name} need the package stamina: pip install 'gitune[serve]'")
        self.name = name
        self.breaker = Breaker(patience.failures, patience.pause)
        self._failures, self._patience, self._observe = failures, patience, observe
        # Attempts are counted in the metrics; a line for each would say no more.
        logging.getLogger("stamina").setLevel(logging.ERROR)
        self._ends: tuple[type[Exception], ...] = (BreakerOpen, *failures)

    async def call(self, work: Callable[[], Awaitable[Result]], attempts: int | None = None) -> Result:
        """Return what *work* returns.

        Args:
            work: calls the service once, with a time-out of its own; it is called for each attempt.
            attempts: most attempts of this call, where they are not those of ``patience``.

        Raises:
            Unreachable: every attempt failed, or the breaker is open.
        """
        try:
            async for attempt in self._attempts(attempts):
                with attempt, self.breaker.watching(self._failures):
                    result = await work()
        except self._ends as error:
            raise Unreachable(self.name, error) from error
        self._observe(self.name, "ok")
        return result

    def call_blocking(self, work: Callable[[], Result], attempts: int | None = None) -> Result:
        """Do the same for code without an event loop."""
        try:
            for attempt in self._attempts(attempts):
                with attempt, self.breaker.watching(self._failures):
                    result = work()
        except self._ends as error:
            raise Unreachable(self.name, error) from error
        self._observe(self.name, "ok")
        return result

    def _attempts(self, attempts: int | None) -> Any:
        from stamina import retry_context

        patience = self._patience
        return retry_context(
            self._failed,
            attempts=attempts or patience.attempts,
            timeout=None,
            wait_initial=patience.first_wait,
            wait_max=patience.longest_wait,
            wait_jitter=patience.first_wait,
        )

    def _failed(self, error: Exception) -> bool:
        """Return whether another attempt makes sense, and count the failed one."""
        if isinstance(error, BreakerOpen):
            self._observe(self.name, "refused")
            return False
        if failed := isinstance(error, self._failures):
            self._observe(self.name, "failed")
        return failed
