"""Run jobs in the server's own process, without a broker."""

import asyncio
from collections.abc import Callable
from functools import partial

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.jobs.job import Job
from framework.serving.jobs.runner import JobRunner
from framework.serving.jobs.table import JobTable
from framework.serving.middleware.error_handlers import error_response


class InProcess:
    """Begins the oldest jobs, a few at once; see ``JobQueue``.

    Args:
        table: the jobs.
        runner: runs one.
        concurrency: most jobs at once.
        on_room: called when one has ended.
    """

    def __init__(
        self, table: JobTable, runner: JobRunner, concurrency: int, on_room: Callable[[], object]
    ) -> None:
        self._table, self._runner, self._concurrency = table, runner, concurrency
        self._on_room = on_room
        self._running: dict[str, asyncio.Task[bool]] = {}

    async def hand_over(self) -> None:
        """Begin waiting jobs; see ``JobQueue``."""
        if len(self._running) >= self._concurrency:
            return
        for job_id in await asyncio.to_thread(self._table.waiting, self._concurrency):
            if job_id not in self._running and len(self._running) < self._concurrency:
                task = self._running[job_id] = asyncio.ensure_future(self._runner.run(job_id))
                task.add_done_callback(partial(self._ended, job_id))

    def _ended(self, job_id: str, task: "asyncio.Task[bool]") -> None:
        del self._running[job_id]
        if not task.cancelled():
            task.exception()  # the table did not answer; the job is begun again
            self._on_room()

    async def close(self) -> None:
        """Give the running jobs back; see ``JobQueue``."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def inside(app: ASGIApp, callers: Callable[[str], Caller | None]) -> Callable[[Job], httpx.AsyncClient]:
    """Return what connects to the server's own routes in the name of a job's owner.

    Args:
        app: the routes.
        callers: return the caller with a name, with its limits, or None if its key has been withdrawn.
    """

    def connect(job: Job) -> httpx.AsyncClient:
        async def as_owner(scope: Scope, receive: Receive, send: Send) -> None:
            if (caller := callers(job.owner)) is None:
                error = ApiError(401, "The job's API key is not accepted any more", code="invalid_api_key")
                await error_response(scope, error)(scope, receive, send)
                return
            scope["state"] = {"caller": caller}
            await app(scope, receive, send)

        transport = httpx.ASGITransport(as_owner, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://server")

    return connect
