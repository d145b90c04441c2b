"""Answer one job: ask the server's own API, and write what it answers.

The server's admission holds for jobs too: while it is busy or restarts, a job waits and asks again until its
deadline. Meanwhile the holder renews its lease, and learns whether the job was cancelled.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx

from framework.serving.answers.answer_use import FALLBACK
from framework.serving.jobs import job as states
from framework.serving.jobs.job import Job, outcome
from framework.serving.jobs.table import JobTable

_log = logging.getLogger(__name__)
RENEWALS = 8
"""Renewals in the time of one lease."""
MOST_SECONDS = 1.0
"""Longest time until a cancelled job's request is ended."""
_BUSY = (429, 502, 503, 504)
_LONGEST_WAIT = 30.0
_LOST_WAIT = 1.0


class _Busy(Exception):
    """The server does not take the request now."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class _Limited(_Busy):
    """The limit of the owner's key is used up; others' jobs must not wait for it."""


class _Lost(Exception):
    """The server, or the model's process, died on the request."""


class JobRunner:
    """Runs jobs, each by one request.

    Args:
        table: the jobs.
        connect: returns the client that asks in the name of a job.
        holder: name of this process, unlike any other's.
    """

    def __init__(self, table: JobTable, connect: Callable[[Job], httpx.AsyncClient], holder: str) -> None:
        self._table, self._connect, self._holder = table, connect, holder
        # A busy server is no news: each job would log each time that it asks.
        logging.getLogger("stamina").setLevel(logging.ERROR)

    async def run(self, job_id: str) -> bool:
        """Begin the job, answer it, and write its result; False if it was not to be begun.

        If this task is cancelled, the job is given back.
        """
        job = await asyncio.to_thread(self._table.claim, job_id, self._holder)
        if job is None:
            return False
        answer = asyncio.ensure_future(self._answer(job))
        held = asyncio.ensure_future(self._hold(job))
        try:
            await asyncio.wait({answer, held}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _end(answer)
            await asyncio.to_thread(self._table.release, job.id, self._holder)
            raise
        finally:
            await _end(held)
            await _end(answer)
        return True

    async def _hold(self, job: Job) -> None:
        """Renew the lease until the job is not ours any more."""
        lease = self._table.lease_seconds
        lost = time.monotonic() + lease
        while time.monotonic() < lost:
            await asyncio.sleep(min(MOST_SECONDS, lease / RENEWALS))
            try:
                if not await asyncio.to_thread(self._table.renew, job.id, self._holder):
                    return
                lost = time.monotonic() + lease
            except Exception as error:  # the database may be back before the lease ends
                _log.warning("job %s: its lease was not renewed: %s", job.id, error)

    async def _answer(self, job: Job) -> None:
        try:
            async with self._connect(job) as client:
                response = await self._ask(client, job)
        except _Limited as limited:
            wait = min(limited.seconds or _LOST_WAIT, _LONGEST_WAIT)
            await self._write(self._table.release, job.id, self._holder, wait)
            return
        except _Busy:
            return  # its deadline has passed, and the sweeper fails it
        except _Lost as lost:
            _log.warning("job %s: attempt %d was lost: %s", job.id, job.attempts, lost)
            wait = _LOST_WAIT * 2 ** min(job.attempts, 5)
            await self._write(self._table.release, job.id, self._holder, wait, lost=True)
            return
        status, result, error = _read(response)
        if not await self._write(self._table.finish, job.id, status, result, error):
            _log.info("job %s: its result was written before, or it was cancelled", job.id)

    async def _ask(self, client: httpx.AsyncClient, job: Job) -> httpx.Response:
        """Return the answer to the job's request, repeated while the server is busy.

        Raises:
            _Busy: it was busy until the job's deadline.
            _Lost: it died on the request.
        """
        import stamina

        left = max(0.0, job.deadline - time.time())
        async for attempt in stamina.retry_context(
            _wait, attempts=None, timeout=left, wait_initial=0.5, wait_max=_LONGEST_WAIT
        ):
            with attempt:
                return await self._ask_once(client, job)
        raise AssertionError("stamina ends with an answer or an error")

    async def _ask_once(self, client: httpx.AsyncClient, job: Job) -> httpx.Response:
        try:
            # A job can wait for the model itself, so no fallback answers in its place.
            headers = {"X-Request-ID": job.id, FALLBACK: "1"}
            response = await client.post(job.path, json=job.body, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise _Busy(None) from None  # the request did not reach it
        except httpx.TransportError as error:
            raise _Lost(f"the server ended the connection ({type(error).__name__})") from error
        if response.status_code not in _BUSY:
            return response
        code, seconds = _error(response).get("code"), response.headers.get("Retry-After", "")
        if code == "engine_failed":
            raise _Lost("the model's process died")
        busy = _Limited if code == "rate_limit_exceeded" else _Busy
        raise busy(float(seconds) if seconds.isdecimal() else None)

    async def _write(self, write: Callable[..., bool], *arguments: Any, **options: Any) -> bool:
        """Write to the table, again and again for as long as the lease is."""
        import stamina
        from sqlalchemy.exc import SQLAlchemyError

        async for attempt in stamina.retry_context(
            SQLAlchemyError, attempts=None, timeout=self._table.lease_seconds
        ):
            with attempt:
                return await asyncio.to_thread(write, *arguments, **options)
        raise AssertionError("stamina ends with an answer or an error")


def _wait(error: Exception) -> bool | float:
    """Return whether to ask again after *error*, or in how many seconds the server says to."""
    if not isinstance(error, _Busy) or isinstance(error, _Limited):
        return False
    return True if error.seconds is None else min(max(error.seconds, 0.5), _LONGEST_WAIT)


def _error(response: httpx.Response) -> dict[str, Any]:
    """Return OpenAI's error object of *response*, empty if it has none."""
    with suppress(ValueError, AttributeError):
        if isinstance(error := response.json().get("error"), dict):
            return error
    return {}


def _read(response: httpx.Response) -> tuple[str, dict[str, Any] | None, dict[str, Any] | None]:
    """Return a job's status, result and error after *response*."""
    if response.status_code == 200:
        with suppress(ValueError):
            if isinstance(answer := response.json(), dict):
                return outcome(answer), answer, None
    error = _error(response)
    message = error.get("message") or f"the server answered with {response.status_code}"
    code = error.get("code") or error.get("type") or "server_error"
    return states.FAILED, None, {"code": str(code), "message": str(message)}


async def _end(task: "asyncio.Task[None]") -> None:
    """Cancel *task* unless it has ended, and log what it failed with."""
    if not task.done():
        task.cancel()
    with suppress(asyncio.CancelledError):
        try:
            await task
        except Exception:
            _log.exception("a background job's attempt failed")
