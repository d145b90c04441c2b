"""The server's loop over the table: hand jobs over, find lost ones, erase old ones, call webhooks, count."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from framework.serving.jobs.queue import JobQueue
from framework.serving.jobs.settings import Jobs
from framework.serving.jobs.upkeep import Upkeep
from framework.serving.jobs.webhooks import Webhooks
from framework.serving.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
PERIOD = 1.0
"""Seconds between two sweeps."""
_ERASE_PERIOD = 60.0


class Sweeper:
    """Keeps jobs going; every server has one, and several do no harm.

    Args:
        upkeep: the table.
        settings: the options of background work.
        metrics: what is exported.
        webhooks: None calls none.
    """

    def __init__(self, upkeep: Upkeep, settings: Jobs, metrics: Metrics, webhooks: Webhooks | None) -> None:
        self._upkeep, self._settings, self._webhooks = upkeep, settings, webhooks
        self._metrics = metrics.jobs
        self._queued, self._oldest = 0, time.time()
        self._metrics.queued.set_function(lambda: float(self._queued))
        self._metrics.oldest.set_function(self._waited)
        self._kept = self._erased = -_ERASE_PERIOD
        self._wake = asyncio.Event()
        self._failing = False

    def _waited(self) -> float:
        return max(0.0, time.time() - self._oldest) if self._queued else 0.0

    def wake(self) -> None:
        """Hand over at once: there is a new job, or room for one."""
        self._wake.set()

    async def run(self, queue: JobQueue) -> None:
        """Sweep until cancelled."""
        calls = asyncio.ensure_future(self._repeat(self._call))
        try:
            await self._repeat(lambda: self._sweep(queue))
        finally:
            calls.cancel()
            with suppress(asyncio.CancelledError):
                await calls

    async def _repeat(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await action()
                self._failing = False
            except Exception as error:
                if not self._failing:
                    _log.warning("background jobs wait: %s", error)
                self._failing = True
                await asyncio.sleep(PERIOD)

    async def _sweep(self, queue: JobQueue) -> None:
        self._wake.clear()
        await queue.hand_over()
        if time.monotonic() - self._kept >= PERIOD:
            await asyncio.to_thread(self._keep)
            self._kept = time.monotonic()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), PERIOD)

    def _keep(self) -> None:
        self._upkeep.fail_late()
        self._metrics.taken_back.inc(self._upkeep.take_back(self._settings.max_attempts))
        for status, count in self._upkeep.count_ended().items():
            self._metrics.ended.labels(status).inc(count)
        self._queued, self._oldest = self._upkeep.queued()
        if time.monotonic() - self._erased >= _ERASE_PERIOD:
            self._upkeep.erase(self._settings.keep_seconds)
            self._erased = time.monotonic()

    async def _call(self) -> None:
        if self._webhooks is None or not await self._webhooks.call():
            await asyncio.sleep(PERIOD)
