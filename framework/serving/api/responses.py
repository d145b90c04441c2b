"""``/v1/responses``: OpenAI's newer form of a conversation. It is kept where it asks for that."""

import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from framework.serving.answers.answer_use import current_use
from framework.serving.api.body import read_request
from framework.serving.api.choices import Choices
from framework.serving.api.kept_responses import PATH, KeptResponses
from framework.serving.api.operation import ASKS_MODEL, EVENTS, JSON, Operation
from framework.serving.api.replies import ResponseObject
from framework.serving.api.response_reply import ResponseReply
from framework.serving.api.response_request import ResponseRequest
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.jobs.job import new_id
from framework.serving.middleware.disconnect import unless_disconnected
from framework.serving.middleware.identified import HEADER

_JOB = re.compile("resp_[0-9a-f]{32}")


class Responses:
    """Answers at once, or passes a background response on."""

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

    def __init__(self, service: Service, kept: KeptResponses | None) -> None:
        """Answer for *service*; *kept* has the responses that are kept, None keeps none."""
        self._service, self._kept = service, kept
        self.routes = [Route(PATH, self.answer, methods=["POST"])]
        if kept is None:
            self.routes.append(Route(f"{PATH}/{{id}}", self.show, methods=["GET", "DELETE"]))

    async def answer(self, request: Request) -> Response:
        """Answer, in one response or as a stream."""
        arrived, raw = time.monotonic(), await request.body()
        service = self._service
        body = read_request(ResponseRequest, raw)
        body.check_kept(keeps=self._kept is not None)
        if self._kept is not None:
            body = await self._kept.continued(request, body)
            if body.background:
                return await self._kept.add(request, body)
        adapter = service.adapter(body.model)
        chat = body.chat()
        payloads = service.adapted(chat.payloads(), adapter)
        limit = chat.limit(service.limits.max_new_tokens)
        service.check_length(chat.characters(), "input")
        name = _name(request, body)
        choices = await Choices.begin(request, service, payloads, limit, arrived, name)
        substitute = current_use().substitute
        model = body.model if substitute is None else substitute.model
        reply = ResponseReply(name, model, body.shown(), choices.firsts[0]["prompt_tokens"])
        keep = partial(self._keep, request, body)
        if body.stream:
            return StreamingResponse(_streamed(reply, choices, keep), media_type="text/event-stream")
        await unless_disconnected(request, _complete(reply, choices))
        await keep(reply)
        return JSONResponse(reply.body())

    async def _keep(self, request: Request, body: ResponseRequest, reply: ResponseReply) -> None:
        """Keep the complete response if its client wants it."""
        if body.store and self._kept is not None:
            await self._kept.keep(request, body, reply.body())

    async def show(self, request: Request) -> Response:
        """Say that no response is kept.

        Raises:
            ApiError: 404, always.
        """
        raise ApiError(
            404,
            f"There is no response '{request.path_params['id']}': responses are kept if they were asked for "
            "with store: true or background: true, which need serving.jobs",
        )


def _name(request: Request, body: ResponseRequest) -> str:
    """Return the response's id: a background job's own, which its client knows, or a new one."""
    wanted = "" if body.store else request.headers.get(HEADER, "")
    return wanted if _JOB.fullmatch(wanted) else new_id("resp")


async def _complete(reply: ResponseReply, choices: Choices) -> None:
    async with aclosing(choices.events()) as events:
        async for _, event in events:
            for _ in reply.add(event):
                pass


async def _streamed(
    reply: ResponseReply, choices: Choices, keep: Callable[[ResponseReply], Awaitable[None]]
) -> AsyncGenerator[str, None]:
    """Yield the server-sent events; a response that is to be kept is, before the event that ends it."""
    async with aclosing(choices.events()) as events:
        for line in reply.begin():
            yield line
        try:
            async for _, event in events:
                lines = list(reply.add(event))
                if "finish_reason" in event:
                    await keep(reply)
                for line in lines:
                    yield line
        except ApiError as error:  # the status was sent already; clients raise on an error event
            yield reply.failed(error.body()["error"])
