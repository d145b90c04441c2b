"""``POST /v1/chat/completions``."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from framework.serving.answers.answer_use import current_use
from framework.serving.api.body import read_request
from framework.serving.api.chat_reply import DONE, Reply, event
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api.choices import Choices, usage
from framework.serving.api.operation import ASKS_MODEL, EVENTS, JSON, Operation
from framework.serving.api.replies import ChatCompletion, ChatCompletionChunk
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.middleware.disconnect import unless_disconnected

PATH = "/v1/chat/completions"


class Chat:
    """Answers conversations."""

    operations = (
        Operation(
            "POST",
            PATH,
            "Answer a conversation",
            ChatRequest,
            replies={JSON: ChatCompletion, EVENTS: ChatCompletionChunk},
            errors=ASKS_MODEL,
            example={"messages": [{"role": "user", "content": "Hello"}]},
        ),
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(PATH, self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """Answer a conversation, in one response or as a stream."""
        arrived = time.monotonic()
        service = self._service
        body = read_request(ChatRequest, await request.body())
        adapter = service.adapter(body.model)
        payloads = service.adapted(body.payloads(), adapter)
        limit = body.limit(service.limits.max_new_tokens)
        service.check_length(body.characters(), "messages")
        reply = Reply.new(body.model, service.created, adapter or service.release.digest)
        choices = await Choices.begin(request, service, payloads, limit, arrived, reply.id)
        reply = reply.answered(current_use())
        if body.stream:
            stream = _streamed(reply, choices, body)
            return StreamingResponse(stream, media_type="text/event-stream")
        answers = await unless_disconnected(request, choices.complete())
        used = usage(choices.firsts[0]["prompt_tokens"], choices.completion_tokens)
        return JSONResponse(reply.complete(answers, used, logprobs=bool(body.logprobs)))


async def _streamed(reply: Reply, choices: Choices, body: ChatRequest) -> AsyncGenerator[str, None]:
    """Yield the server-sent events; usage is ``null`` in all but the last, or runs along, if it is wanted."""

    def used() -> dict[str, int]:
        return usage(choices.firsts[0]["prompt_tokens"], choices.completion_tokens)

    def extra() -> dict[str, Any]:
        return {"usage": used() if body.with_running_usage else None} if body.with_usage else {}

    async with aclosing(choices.events()) as events:
        for index in range(len(choices.choices)):
            yield reply.chunk(index, {"role": "assistant", "content": ""}, **extra())
        try:
            async for index, content in events:
                choice = choices.choices[index]
                at = len(choice.calls)
                calls = choice.add(content)
                if "text" in content:
                    delta = reply.delta(content["text"], calls, at)
                    yield reply.chunk(index, delta, logprobs=content.get("logprobs"), **extra())
                    continue
                yield reply.chunk(index, {}, content["finish_reason"], **extra())
        except ApiError as error:  # the status was sent already; clients raise on an error event
            yield event(error.body())
            return
        if body.with_usage:
            yield reply.usage_chunk(used())
        yield DONE
