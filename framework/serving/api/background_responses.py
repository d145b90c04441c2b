"""``/v1/responses`` with ``background: true``: OpenAI's form of background work.

The job asks ``/v1/responses`` for the same without ``background``.
"""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.body import read_request
from framework.serving.api.jobs import ID, idempotency_key, reused_key
from framework.serving.api.operation import JSON, Operation
from framework.serving.api.response_request import ResponseRequest
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
from framework.serving.jobs import job as states
from framework.serving.jobs.background import Background
from framework.serving.jobs.job import Job, NewJob
from framework.serving.middleware.limited import DEFERRED

PATH = "/v1/responses"


class BackgroundResponses:
    """Takes, shows and cancels background responses."""

    operations = (
        Operation(
            "GET",
            f"{PATH}/{{id}}",
            "Show a background response",
            replies={JSON: None},
            errors=(404, 503),
            parameters=ID,
        ),
        Operation(
            "POST",
            f"{PATH}/{{id}}/cancel",
            "Cancel a background response",
            replies={JSON: None},
            errors=(404, 503),
            parameters=ID,
        ),
    )

    def __init__(self, service: Service, background: Background) -> None:
        self._service, self._background = service, background
        self.routes = [
            Route(f"{PATH}/{{id}}", self.show, methods=["GET"]),
            Route(f"{PATH}/{{id}}/cancel", self.cancel, methods=["POST"]),
        ]

    async def add(self, request: Request) -> Response:
        """Accept a response, whose status is ``queued``.

        Raises:
            ApiError: the same as at once, or 400 for what has no meaning in the background.
        """
        sent = json.loads(await request.body())
        if sent.pop("store", None) is False:
            raise ApiError(400, "store: a background response is kept until it is fetched", param="store")
        if sent.get("stream"):
            raise ApiError(400, "stream: a background response is not a stream", param="stream")
        del sent["background"]
        try:
            raw = json.dumps(sent, allow_nan=False).encode()
        except ValueError:
            raise ApiError(400, "NaN and Infinity are no JSON") from None
        body, service = read_request(ResponseRequest, raw), self._service
        service.check_model(body.model)
        chat = body.chat()
        chat.payloads()
        chat.limit(service.limits.max_new_tokens)
        service.check_length(chat.characters(), "input")
        shown = {"model": body.model, **body.shown()}
        new = NewJob(PATH, sent, caller_of(request).name, shown, idempotency_key(request))
        job = await self._background.accept(new, "resp")
        if (job.path, job.body) != (new.path, new.body):
            raise reused_key()
        setattr(request.state, DEFERRED, True)
        return JSONResponse(response_of(job))

    async def show(self, request: Request) -> Response:
        """Answer with the response as it is now."""
        return JSONResponse(response_of(await self._background.get(_id(request), caller_of(request).name)))

    async def cancel(self, request: Request) -> Response:
        """Cancel the response unless it has ended, and answer with it."""
        return JSONResponse(response_of(await self._background.cancel(_id(request), caller_of(request).name)))


def _id(request: Request) -> str:
    """Return the id in the path.

    Raises:
        ApiError: 404, it is not a response's.
    """
    job_id = str(request.path_params["id"])
    if not job_id.startswith("resp_"):
        raise ApiError(404, f"There is no response '{job_id}'")
    return job_id


def response_of(job: Job) -> dict[str, Any]:
    """Return *job* as OpenAI's ``response`` object: its answer, once there is one."""
    own = {
        "id": job.id,
        "created_at": int(job.created),
        "completed_at": int(job.ended) if job.ended and job.status == states.COMPLETED else None,
        "background": True,
        "store": True,
    }
    if job.result is not None:
        return {**job.result, **own}
    return {
        "object": "response",
        "status": job.status,
        "error": job.error and {"code": "server_error", "message": job.error["message"]},
        "incomplete_details": None,
        "output": [],
        "previous_response_id": None,
        "truncation": "disabled",
        "usage": None,
        **job.shown,
        **own,
    }
