"""Responses that are kept: background ones, which a job answers, and those with ``store: true``.

Both are rows with the request and the answer. A response that continues another one has the whole
conversation in its own row, so the other one can be erased.
"""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api.body import read_request
from framework.serving.api.operation import JSON, Operation
from framework.serving.api.own_jobs import ID, OwnJobs, operations
from framework.serving.api.replies import DeletedResponse, ItemList, ResponseObject
from framework.serving.api.response_items import QUERY, asked, conversation, page
from framework.serving.api.response_request import ResponseRequest
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
from framework.serving.jobs import job as states
from framework.serving.jobs.background import Background
from framework.serving.jobs.job import Job, NewJob
from framework.serving.middleware.limited import DEFERRED

PATH = "/v1/responses"
_NOT_ASKED = frozenset({"background", "store", "stream", "stream_options", "previous_response_id"})
"""Fields that are about the response, and not about the answer."""


class KeptResponses:
    """Keeps, shows, continues and erases responses; only the API key that asked for one sees it."""

    operations = (
        *operations(PATH, "a kept response", ResponseObject),
        Operation(
            "DELETE",
            f"{PATH}/{{id}}",
            "Erase a kept response",
            replies={JSON: DeletedResponse},
            errors=(404, 503),
            parameters=ID,
        ),
        Operation(
            "GET",
            f"{PATH}/{{id}}/input_items",
            "List what a kept response was asked",
            replies={JSON: ItemList},
            errors=(400, 404, 503),
            parameters=ID,
            query=QUERY,
        ),
    )

    def __init__(self, service: Service, background: Background) -> None:
        self._service, self._background = service, background
        self._own = OwnJobs(background, PATH, "resp", response_of)
        self.routes = [
            *self._own.routes,
            Route(f"{PATH}/{{id}}", self.delete, methods=["DELETE"]),
            Route(f"{PATH}/{{id}}/input_items", self.items, methods=["GET"]),
        ]

    async def add(self, request: Request, body: ResponseRequest) -> Response:
        """Accept a background response, whose status is ``queued``.

        Raises:
            ApiError: the same as at once; see ``OwnJobs.add``.
        """
        service = self._service
        service.check_model(body.model)
        chat = body.chat()
        chat.payloads()
        chat.limit(service.limits.max_new_tokens)
        service.check_length(chat.characters(), "input")
        shown = {"model": body.model, **body.shown()}
        job = await self._own.add(request, PATH, _without(body, *_NOT_ASKED), shown)
        setattr(request.state, DEFERRED, True)
        return JSONResponse(response_of(job))

    async def keep(self, request: Request, body: ResponseRequest, answer: dict[str, Any]) -> None:
        """Keep the complete *answer* to *body*.

        Raises:
            ApiError: 503, the database does not answer.
        """
        new = NewJob(PATH, _without(body, *_NOT_ASKED), caller_of(request).name)
        await self._background.keep(new, answer["id"], answer["status"], answer)

    async def continued(self, request: Request, body: ResponseRequest) -> ResponseRequest:
        """Return *body* with the conversation that ``previous_response_id`` names before its own input.

        The earlier ``instructions`` are left out.

        Raises:
            ApiError: 400, the caller has no such response, or it has no answer; 503, the database does not
                answer.
        """
        name = body.previous_response_id
        if name is None:
            return body
        try:
            job = await self._background.get(name, caller_of(request).name)
        except ApiError as error:
            if error.status != 404:
                raise
            job = None
        if job is None or job.path != PATH or not name.startswith("resp_"):
            raise ApiError(
                400,
                f"previous_response_id: there is no response '{name}'; kept ones are erased after a while",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        sent = _without(body)
        own = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else sent["input"]
        whole = json.dumps({**sent, "input": [*conversation(job), *own]})
        return read_request(ResponseRequest, whole.encode())

    async def delete(self, request: Request) -> Response:
        """Erase the response; one without an answer ends."""
        name = self._own.id_in(request)
        await self._background.delete(name, caller_of(request).name)
        return JSONResponse({"id": name, "object": "response", "deleted": True})

    async def items(self, request: Request) -> Response:
        """Answer with what the response was asked."""
        return JSONResponse(page(asked(await self._own.find(request)), request.query_params))


def _without(body: ResponseRequest, *names: str) -> dict[str, Any]:
    """Return the fields that the client has sent, as JSON, without those of *names*."""
    return body.model_dump(by_alias=True, exclude_unset=True, exclude=set(names))


def response_of(job: Job) -> dict[str, Any]:
    """Return *job* as OpenAI's ``response`` object: its answer, once there is one."""
    if job.result is not None and job.result["store"]:
        return job.result  # it was answered at once, and is kept as it was sent
    own = {
        "id": job.id,
        "created_at": int(job.created),
        "completed_at": int(job.ended) if job.ended and job.status == states.COMPLETED else None,
        "background": True,
        "store": True,
        "previous_response_id": job.shown.get("previous_response_id"),
    }
    if job.result is not None:
        return {**job.result, **own}
    return {
        "object": "response",
        "status": job.status,
        "error": job.error and {"code": "server_error", "message": job.error["message"]},
        "incomplete_details": None,
        "output": [],
        "truncation": "disabled",
        "usage": None,
        **job.shown,
        **own,
    }
