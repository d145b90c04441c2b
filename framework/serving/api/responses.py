"""``/v1/responses``: OpenAI's newer form of a conversation. Without ``background`` nothing is kept."""

import json
import re
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from framework.serving.answers import Generation
from framework.serving.answers.answer_use import current_use
from framework.serving.api.background_responses import BackgroundResponses
from framework.serving.api.body import read_request
from framework.serving.api.choices import Choices
from framework.serving.api.operation import ASKS_MODEL, EVENTS, JSON, Operation
from framework.serving.api.replies import ResponseObject
from framework.serving.api.response_reply import ResponseReply
from framework.serving.api.response_request import ResponseRequest
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
from framework.serving.middleware.disconnect import unless_disconnected
from framework.serving.middleware.identified import HEADER

PATH = "/v1/responses"
_JOB = re.compile("resp_[0-9a-f]{32}")


class Responses:
    """Answers at once; what asks for ``background`` is passed on."""

    operations = (
        Operation(
            "POST",
            PATH,
            "Answer in the form of responses",
            ResponseRequest,
            replies={JSON: ResponseObject, EVENTS: None},
            errors=ASKS_MODEL,
            example={"input": "Hello"},
        ),
    )

    def __init__(self, service: Service, background: BackgroundResponses | None) -> None:
        """Answer for *service*; *background* takes what is not answered at once, None refuses it."""
        self._service, self._background = service, background
        self.routes = [Route(PATH, self.answer, methods=["POST"])]
        if background is None:
            self.routes.append(Route(f"{PATH}/{{id}}", self.show, methods=["GET"]))

    async def answer(self, request: Request) -> Response:
        """Answer, in one response or as a stream."""
        arrived, raw = time.monotonic(), await request.body()
        service = self._service
        if self._background is not None and _in_background(raw):
            return await self._background.add(request)
        body = read_request(ResponseRequest, raw)
        adapter = service.adapter(body.model)
        chat = body.chat()
        (payload,) = service.adapted(chat.payloads(), adapter)
        limit = chat.limit(service.limits.max_new_tokens)
        service.check_length(chat.characters(), "input")
        name = _name(request)
        asked = Generation(payload, *limit, caller_of(request), arrived, name, PATH)
        choices = await Choices.begin(request, service, [asked])
        substitute = current_use().substitute
        model = body.model if substitute is None else substitute.model
        reply = ResponseReply(name, model, body.shown(), choices.firsts[0]["prompt_tokens"])
        if body.stream:
            return StreamingResponse(_streamed(reply, choices), media_type="text/event-stream")
        await unless_disconnected(request, _complete(reply, choices))
        return JSONResponse(reply.body())

    async def show(self, request: Request) -> Response:
        """Say that no response is kept.

        Raises:
            ApiError: 404, always.
        """
        raise ApiError(
            404,
            f"There is no response '{request.path_params['id']}': responses are kept if they were asked for "
            "with background: true, which needs serving.jobs",
        )


def _name(request: Request) -> str:
    """Return the response's id: a background job's own, which its client knows, or a new one."""
    wanted = request.headers.get(HEADER, "")
    return wanted if _JOB.fullmatch(wanted) else f"resp_{uuid.uuid4().hex}"


def _in_background(raw: bytes) -> bool:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and body.get("background") is True


async def _complete(reply: ResponseReply, choices: Choices) -> None:
    async with aclosing(choices.events()) as events:
        async for _, event in events:
            for _ in reply.add(event):
                pass


async def _streamed(reply: ResponseReply, choices: Choices) -> AsyncGenerator[str, None]:
    async with aclosing(choices.events()) as events:
        for line in reply.begin():
            yield line
        try:
            async for _, event in events:
                for line in reply.add(event):
                    yield line
        except ApiError as error:  # the status was sent already; clients raise on an error event
            yield reply.failed(error.body()["error"])
