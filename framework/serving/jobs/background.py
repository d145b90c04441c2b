"""Background work of one server, put together: the table, the queue, the sweeper and the webhooks."""

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from starlette.types import ASGIApp

from framework.core.errors import ServeError
from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.jobs.celery_queue import CeleryQueue, open_celery
from framework.serving.jobs.in_process import InProcess, inside
from framework.serving.jobs.job import Job, NewJob, new_id
from framework.serving.jobs.queue import JobQueue
from framework.serving.jobs.rows import JobRows
from framework.serving.jobs.runner import JobRunner
from framework.serving.jobs.settings import Jobs
from framework.serving.jobs.sweeper import Sweeper
from framework.serving.jobs.table import JobTable
from framework.serving.jobs.upkeep import Upkeep
from framework.serving.jobs.webhooks import Webhooks, read_secret
from framework.serving.telemetry.metrics import Metrics

P = ParamSpec("P")
R = TypeVar("R")
_RETRY_AFTER = 5


class Background:
    """Accepts, shows and cancels jobs, and keeps them going while the server runs.

    Args:
        settings: the options.
        release: the release's name.
        folder: holds the default database.
        metrics: what is exported.

    Raises:
        ServeError: an environment variable or a package is missing.
    """

    def __init__(self, settings: Jobs, release: str, folder: Path, metrics: Metrics) -> None:
        self._settings = settings
        self._broker, self._release = settings.broker_url(), release
        check_broker(self._broker)
        if find_spec("stamina") is None:
            raise ServeError("serving.jobs needs the package stamina: pip install 'gitune[serve]'")
        key = read_secret() if settings.webhook_hosts else None
        self._rows = JobRows(settings.results_url(folder), release)
        self._table = JobTable(self._rows, settings.max_seconds, settings.lease_seconds)
        self._upkeep = Upkeep(self._rows)
        self.calls_webhooks = bool(settings.webhook_hosts)
        """Whether any URL can be called."""
        self._webhooks = None if key is None else Webhooks(self._upkeep, settings, key, metrics.jobs)
        self._sweeper = Sweeper(self._upkeep, settings, metrics, self._webhooks)

    @contextlib.asynccontextmanager
    async def running(self, app: ASGIApp, callers: Callable[[str], Caller | None]) -> AsyncIterator[None]:
        """Keep jobs going until the block ends.

        Args:
            app: the server's routes without keys, for jobs that run in this process.
            callers: return the caller with a name, None if its key has been withdrawn.
        """
        queue = self._queue(app, callers)
        sweeping = asyncio.ensure_future(self._sweeper.run(queue))
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            await queue.close()
            if self._webhooks is not None:
                await self._webhooks.close()
            await asyncio.to_thread(self._rows.close)

    def _queue(self, app: ASGIApp, callers: Callable[[str], Caller | None]) -> JobQueue:
        if self._broker:
            celery = open_celery(self._broker, self._release, publishes=True)
            return CeleryQueue(self._upkeep, celery, self._settings.republish_seconds)
        runner = JobRunner(self._table, inside(app, callers), holder_name())
        return InProcess(self._table, runner, self._settings.concurrency, self._sweeper.wake)

    async def accept(self, new: NewJob, prefix: str) -> Job:
        """Keep a job and return it, or the earlier one with its idempotency key, even where no more fit.

        Args:
            new: what to answer.
            prefix: what its id begins with.

        Raises:
            ApiError: 400 for its webhook, 429 if there are too many, 503 if the database does not answer.
        """
        if new.key is not None:
            earlier = await _asked(self._table.with_key, new.key, new.owner)
            if earlier is not None:
                return earlier
        webhook = new.webhook or self._settings.webhook_url or None
        if webhook is not None and not self._settings.calls(webhook):
            raise ApiError(
                400,
                "The webhook's host is not one that this server calls; add it to serving.jobs.webhook_hosts",
                param="webhook",
                code="webhook_refused",
            )
        if not _has_room(await _asked(self._table.open_jobs), new.owner, self._settings.max_queued):
            raise ApiError(
                429,
                f"{self._settings.max_queued} background jobs wait already; retry later",
                code="overloaded",
                retry_after=_RETRY_AFTER,
            )
        complete = NewJob(new.path, new.body, new.owner, new.shown, new.key, webhook)
        job, _ = await _asked(self._table.add, complete, new_id(prefix))
        self._sweeper.wake()
        return job

    async def get(self, job_id: str, owner: str) -> Job:
        """Return a job of *owner*.

        Raises:
            ApiError: 404, or 503 if the database does not answer.
        """
        return _known(await _asked(self._table.get, job_id, owner), job_id)

    async def cancel(self, job_id: str, owner: str) -> Job:
        """Cancel a job of *owner* unless it has ended; return it.

        Raises:
            ApiError: 404, or 503 if the database does not answer.
        """
        return _known(await _asked(self._table.cancel, job_id, owner), job_id)

    async def keep(self, new: NewJob, job_id: str, status: str, result: dict[str, Any]) -> None:
        """Keep what was answered at once under *job_id*, as long as a job's result.

        Raises:
            ApiError: 503, the database does not answer.
        """
        await _asked(self._table.keep, new, job_id, status, result)

    async def delete(self, job_id: str, owner: str) -> None:
        """Erase a job of *owner*; one that is not answered yet ends.

        Raises:
            ApiError: 404, or 503 if the database does not answer.
        """
        if not await _asked(self._table.delete, job_id, owner):
            _known(None, job_id)


def holder_name() -> str:
    """Return a name for this process that no other process has or will have."""
    return f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def check_broker(url: str) -> None:
    """Check that the packages for the broker at *url* are installed.

    Raises:
        ServeError: one is not, or the broker is another kind.
    """
    if not url:
        return
    scheme = url.partition("://")[0]
    if scheme not in ("amqp", "amqps", "redis", "rediss"):
        raise ServeError(
            "serving.jobs.broker is no URL of a supported broker; set it to amqp://… or redis://…"
        )
    for package, extra in (("celery", "jobs"), ("redis", "redis")):
        needed = package == "celery" or scheme.startswith("redis")
        if needed and find_spec(package) is None:
            raise ServeError(
                f"serving.jobs.broker needs the package {package}: pip install 'gitune[{extra}]'"
            )


def _has_room(open_jobs: dict[str, int], owner: str, most: int) -> bool:
    """Return whether *owner* may add a job: when there are too many, those with less than their share may.

    >>> [_has_room({"a": 4, "b": 1}, owner, 4) for owner in "abc"], _has_room({"": 4}, "", 4)
    ([False, True, True], False)
    """
    if sum(open_jobs.values()) < most:
        return True
    others = open_jobs.keys() - {owner}
    return bool(others) and open_jobs.get(owner, 0) < most // (len(others) + 1)


def _known(job: Job | None, job_id: str) -> Job:
    if job is None:
        kind = "response" if job_id.startswith("resp_") else "background job"
        raise ApiError(404, f"There is no {kind} '{job_id}'; ended ones are erased after a while")
    return job


async def _asked(call: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return await asyncio.to_thread(call, *arguments, **options)
    except SQLAlchemyError as error:
        message = "The database of background jobs does not answer; retry later"
        raise ApiError(503, message, retry_after=_RETRY_AFTER) from error
