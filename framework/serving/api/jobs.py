"""``/v1/jobs``: any endpoint's request, answered in the background."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.body import StrictBody, read_request
from framework.serving.api.operation import JSON, READS_BODY, Operation
from framework.serving.api.own_jobs import OwnJobs, operations
from framework.serving.api_error import ApiError
from framework.serving.jobs.background import Background
from framework.serving.jobs.job import Job

PATH = "/v1/jobs"
_NOT_IN_JOBS = ("stream", "background", "store", "previous_response_id")
"""Fields of a body that have no meaning in a job."""


class JobRequest(StrictBody):
    """The body of ``POST /v1/jobs``."""

    url: str
    """The endpoint's path."""
    body: dict[str, Any]
    """The endpoint's request body."""
    webhook: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """The URL to call when the job has ended."""
    metadata: dict[str, str] | None = None


class JobObject(BaseModel):
    """A background job as clients see it."""

    id: str
    object: Literal["job"]
    created_at: int = Field(description="Unix seconds")
    ended_at: int | None
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]
    url: str
    metadata: dict[str, str]
    result: dict[str, Any] | None = Field(description="the endpoint's answer")
    error: dict[str, Any] | None = Field(description="why it failed: code and message")


class JobRoutes:
    """Takes, shows and cancels jobs.

    Args:
        background: background work.
        endpoints: the paths that a job can ask.
    """

    def __init__(self, background: Background, endpoints: tuple[str, ...]) -> None:
        self._own, self._endpoints = OwnJobs(background, PATH, "job", _shown), endpoints
        self.routes = [Route(PATH, self.add, methods=["POST"]), *self._own.routes]
        absent: dict[str, Any] = {"enum": [None, False, 0, "", [], {}]}
        narrowed: dict[str, dict[str, Any]] = {
            "url": {"enum": list(endpoints)},
            "body": {"properties": dict.fromkeys(_NOT_IN_JOBS, absent)},
        }
        if not background.calls_webhooks:
            narrowed["webhook"] = {"type": "null"}
        asks = Operation(
            "POST",
            PATH,
            "Answer a request in the background",
            JobRequest,
            status=202,
            replies={JSON: JobObject},
            errors=(*READS_BODY, 409, 429, 503),
            narrowed=narrowed,
        )
        self.operations = (asks, *operations(PATH, "a background job", JobObject))

    async def add(self, request: Request) -> Response:
        """Accept a job, or find the earlier one with the same idempotency key."""
        body = read_request(JobRequest, await request.body())
        if body.url not in self._endpoints:
            raise ApiError(400, f"url: use {' or '.join(self._endpoints)}", param="url")
        for name in _NOT_IN_JOBS:
            if body.body.get(name):
                raise ApiError(400, f"body: a job cannot have {name}; leave it out", param="body")
        shown = {"metadata": body.metadata or {}}
        job = await self._own.add(request, body.url, body.body, shown, param="body", webhook=body.webhook)
        return JSONResponse(_shown(job), status_code=202)


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
