"""``/v1/jobs``: any endpoint's request, answered in the background."""

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.body import StrictBody, read_request
from framework.serving.api.operation import Operation
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
from framework.serving.jobs.background import Background
from framework.serving.jobs.job import Job, NewJob

PATH = "/v1/jobs"
KEY = "idempotency-key"
_KEY_LENGTH = 255


class JobRequest(StrictBody):
    """The body of ``POST /v1/jobs``."""

    url: str
    """The endpoint's path."""
    body: dict[str, Any]
    """The endpoint's request body."""
    webhook: Annotated[str, Field(max_length=2000)] | None = None
    """The URL to call when the job has ended."""
    metadata: dict[str, str] | None = None


class JobRoutes:
    """Takes, shows and cancels jobs.

    Args:
        background: background work.
        endpoints: the paths that a job can ask.
    """

    operations: tuple[Operation, ...] = ()

    def __init__(self, background: Background, endpoints: tuple[str, ...]) -> None:
        self._background, self._endpoints = background, endpoints
        self.routes = [
            Route(PATH, self.add, methods=["POST"]),
            Route(f"{PATH}/{{id}}", self.show, methods=["GET"]),
            Route(f"{PATH}/{{id}}/cancel", self.cancel, methods=["POST"]),
        ]

    async def add(self, request: Request) -> Response:
        """Accept a job; answer with 202, or with 200 if the idempotency key is an earlier job's."""
        body = read_request(JobRequest, await request.body())
        if body.url not in self._endpoints:
            raise ApiError(400, f"url: use {' or '.join(self._endpoints)}", param="url")
        if body.body.get("stream") or body.body.get("background"):
            raise ApiError(400, "A job's body has neither stream nor background", param="body")
        shown = {"metadata": body.metadata or {}}
        new = NewJob(
            body.url, body.body, caller_of(request).name, shown, idempotency_key(request), body.webhook
        )
        job, is_new = await self._background.accept(new, "job")
        if (job.path, job.body) != (new.path, new.body):
            raise reused_key()
        return JSONResponse(_shown(job), status_code=202 if is_new else 200)

    async def show(self, request: Request) -> Response:
        """Answer with the job as it is now."""
        return JSONResponse(_shown(await self._background.get(_id(request), caller_of(request).name)))

    async def cancel(self, request: Request) -> Response:
        """Cancel the job unless it has ended, and answer with it."""
        return JSONResponse(_shown(await self._background.cancel(_id(request), caller_of(request).name)))


def idempotency_key(request: Request) -> str | None:
    """Return the client's idempotency key, None if it sent none.

    Raises:
        ApiError: 400, it is empty or too long.
    """
    key = request.headers.get(KEY)
    if key is not None and not 0 < len(key) <= _KEY_LENGTH:
        raise ApiError(400, f"The header Idempotency-Key has 1 to {_KEY_LENGTH} characters")
    return key


def reused_key() -> ApiError:
    """Return the error of an idempotency key that came with another request before."""
    return ApiError(
        409,
        "This Idempotency-Key was sent with another request; use a new one",
        code="idempotency_key_reused",
    )


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _shown(job: Job) -> dict[str, Any]:
    """Return a job as clients see it."""
    return {
        "id": job.id,
        "object": "job",
        "created_at": int(job.created),
        "ended_at": None if job.ended is None else int(job.ended),
        "status": job.status,
        "url": job.path,
        **job.shown,
        "result": job.result,
        "error": job.error,
    }
