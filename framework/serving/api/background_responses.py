"""``/v1/responses`` with ``background: true``: OpenAI's form of background work.

The job asks ``/v1/chat/completions``, and its answer is shown as a response.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from framework.serving.api import chat
from framework.serving.api.body import StrictBody, count_characters, read_request
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api.jobs import idempotency_key, reused_key
from framework.serving.api.operation import Operation
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
from framework.serving.jobs import job as states
from framework.serving.jobs.background import Background
from framework.serving.jobs.job import Job, NewJob

PATH = "/v1/responses"


class _Part(StrictBody):
    type: Literal["input_text", "output_text"]
    text: str


class _Item(StrictBody):
    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[_Part]

    def message(self) -> dict[str, Any]:
        """Return it as a message of a chat."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ResponseRequest(StrictBody):
    """The body of ``POST /v1/responses`` in the background."""

    model: str
    input: str | Annotated[list[_Item], Field(min_length=1)]
    background: Literal[True]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    metadata: dict[str, str] | None = None
    # Accepted only with their defaults: a background response has to be kept, and is not a stream.
    store: Literal[True] | None = None
    stream: Literal[False] | None = None

    def chat_body(self) -> dict[str, Any]:
        """Return the body that asks ``/v1/chat/completions`` for the same."""
        messages = [] if self.instructions is None else [{"role": "system", "content": self.instructions}]
        if isinstance(self.input, str):
            messages.append({"role": "user", "content": self.input})
        else:
            messages += [item.message() for item in self.input]
        options = {
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }
        sent = {name: value for name, value in options.items() if value is not None}
        return {"model": self.model, "messages": messages, **sent}

    def shown(self) -> dict[str, Any]:
        """Return the request's fields that the response repeats."""
        return {
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "model": self.model,
            "temperature": self.temperature,
            "top_p": self.top_p,
        }


class BackgroundResponses:
    """Takes, shows and cancels background responses."""

    operations: tuple[Operation, ...] = ()

    def __init__(self, service: Service, background: Background) -> None:
        self._service, self._background = service, background
        self.routes = [
            Route(PATH, self.add, methods=["POST"]),
            Route(f"{PATH}/{{id}}", self.show, methods=["GET"]),
            Route(f"{PATH}/{{id}}/cancel", self.cancel, methods=["POST"]),
        ]

    async def add(self, request: Request) -> Response:
        """Accept a response, whose status is ``queued``."""
        body = read_request(ResponseRequest, await request.body())
        self._service.check_model(body.model)
        asked = body.chat_body()
        self._service.check_length(count_characters(asked["messages"]), "input")
        checked = read_request(ChatRequest, json.dumps(asked).encode())
        checked.conversation()
        checked.limit(self._service.limits.max_new_tokens)
        new = NewJob(chat.PATH, asked, caller_of(request).name, body.shown(), idempotency_key(request))
        job, _ = await self._background.accept(new, "resp")
        if (job.path, job.body) != (new.path, new.body):
            raise reused_key()
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
    """Return *job* as OpenAI's ``response`` object."""
    output: list[dict[str, Any]] = []
    used = None
    if job.result is not None:
        text = job.result["choices"][0]["message"]["content"] or ""
        status = states.INCOMPLETE if job.status == states.INCOMPLETE else states.COMPLETED
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message = {"type": "message", "id": f"msg_{job.id[5:]}", "status": status, "role": "assistant"}
        output = [{**message, "content": [part]}]
        used = _usage(job.result["usage"])
    cut = job.status == states.INCOMPLETE
    error = None if job.error is None else {"code": "server_error", "message": job.error["message"]}
    return {
        "id": job.id,
        "object": "response",
        "created_at": int(job.created),
        "completed_at": int(job.ended) if job.ended and job.status == states.COMPLETED else None,
        "status": job.status,
        "background": True,
        "error": error,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": output,
        "usage": used,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": True,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "truncation": "disabled",
        **job.shown,
    }


def _usage(used: dict[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": used["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": used["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": used["total_tokens"],
    }
