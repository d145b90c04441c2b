"""What every form of background work has: a client adds its own, looks at it and cancels it."""

import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.operation import JSON, Operation
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
from framework.serving.jobs.background import Background
from framework.serving.jobs.job import Job, NewJob

KEY = "idempotency-key"
ID = {"id": {"type": "string"}}
"""The parameter in the path of one job."""
_KEY_LENGTH = 255


def operations(path: str, name: str, reply: type[BaseModel]) -> tuple[Operation, ...]:
    """Return what the routes of ``OwnJobs`` do; *name* is what clients call a job."""

    def declared(method: str, action: str, end: str) -> Operation:
        where = f"{path}/{{id}}{end}"
        return Operation(
            method, where, f"{action} {name}", replies={JSON: reply}, errors=(404, 503), parameters=ID
        )

    return declared("GET", "Show", ""), declared("POST", "Cancel", "/cancel")


class OwnJobs:
    """Adds, shows and cancels the background work of one caller.

    Args:
        background: background work.
        path: where it is found.
        prefix: what ids begin with.
        shown: returns a job as clients see it.
    """

    def __init__(
        self, background: Background, path: str, prefix: str, shown: Callable[[Job], dict[str, Any]]
    ) -> None:
        self._background, self._prefix, self._shown = background, prefix, shown
        self.routes = [
            Route(f"{path}/{{id}}", self.show, methods=["GET"]),
            Route(f"{path}/{{id}}/cancel", self.cancel, methods=["POST"]),
        ]

    async def add(
        self,
        request: Request,
        path: str,
        body: dict[str, Any],
        shown: dict[str, Any],
        *,
        param: str | None = None,
        webhook: str | None = None,
    ) -> Job:
        """Accept a job, or find the earlier one with the same idempotency key.

        Args:
            request: what the client sent.
            path: the endpoint that answers.
            body: what the endpoint is asked.
            shown: what the client is told about its request beside the result.
            param: the request's field that has *body*.
            webhook: the URL to call when it has ended.

        Raises:
            ApiError: 400 for what is no JSON, 409 for a key of another request; see ``Background.accept``.
        """
        try:
            json.dumps(body, allow_nan=False)
        except ValueError:
            raise ApiError(400, "NaN and Infinity are no JSON", param=param) from None
        new = NewJob(path, body, caller_of(request).name, shown, _idempotency_key(request), webhook)
        job = await self._background.accept(new, self._prefix)
        if (job.path, job.body) != (path, body):
            raise ApiError(
                409,
                "This Idempotency-Key was sent with another request; use a new one",
                code="idempotency_key_reused",
            )
        return job

    async def find(self, request: Request) -> Job:
        """Return the job whose id is in the path.

        Raises:
            ApiError: 404, the client has none with this id; 503, the database does not answer.
        """
        return await self._background.get(self.id_in(request), caller_of(request).name)

    async def show(self, request: Request) -> Response:
        """Answer with the job as it is now."""
        return JSONResponse(self._shown(await self.find(request)))

    async def cancel(self, request: Request) -> Response:
        """Cancel the job unless it has ended, and answer with it."""
        job = await self._background.cancel(self.id_in(request), caller_of(request).name)
        return JSONResponse(self._shown(job))

    def id_in(self, request: Request) -> str:
        """Return the id in the path.

        Raises:
            ApiError: 404, it is one of something else.
        """
        job_id = str(request.path_params["id"])
        if not job_id.startswith(f"{self._prefix}_"):
            raise ApiError(404, f"There is no '{job_id}' here: ids begin with {self._prefix}_")
        return job_id


def _idempotency_key(request: Request) -> str | None:
    """Return the client's idempotency key, None if it sent none.

    Raises:
        ApiError: 400, it is empty or too long.
    """
    key = request.headers.get(KEY)
    if key is not None and not 0 < len(key) <= _KEY_LENGTH:
        raise ApiError(400, f"The header Idempotency-Key has 1 to {_KEY_LENGTH} characters")
    return key
