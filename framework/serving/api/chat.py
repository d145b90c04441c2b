"""``POST /v1/chat/completions``."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from framework.serving.answers import Event, Generation
from framework.serving.answers.answer_use import current_use
from framework.serving.api.body import read_request
from framework.serving.api.chat_reply import DONE, Reply, event, usage
from framework.serving.api.chat_request import ChatRequest
from framework.serving.api.operation import ASKS_MODEL, EVENTS, JSON, Operation
from framework.serving.api.replies import ChatCompletion, ChatCompletionChunk
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.caller import caller_of
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
        messages, tools = body.conversation()
        limit, limit_is_own = body.limit(service.limits.max_new_tokens)
        service.check_length(body.characters(), "messages")
        payload = {
            "messages": messages,
            "tools": tools,
            "stops": body.stops(),
            "sampling": asdict(body.sampling()),
            **({} if adapter is None else {"adapter": adapter}),
        }
        reply = Reply.new(body.model, service.created, adapter or service.release.digest)
        asked = Generation(payload, limit, limit_is_own, caller_of(request), arrived, reply.id, PATH)
        events = service.answers.generate(asked)
        try:
            # The first event may be an error, which still has a status to send.
            prompt = (await unless_disconnected(request, anext(events)))["prompt_tokens"]
        except BaseException:
            await events.aclose()
            raise
        reply = reply.answered(current_use())
        if body.stream:
            options = body.stream_options
            stream = _streamed(reply, events, prompt, options is not None and options.include_usage)
            return StreamingResponse(stream, media_type="text/event-stream")
        return JSONResponse(await unless_disconnected(request, _answer(reply, events, prompt)))


async def _answer(reply: Reply, events: AsyncGenerator[Event, None], prompt: int) -> dict[str, Any]:
    text: list[str] = []
    last: Event = {}
    async with aclosing(events):
        async for content in events:
            if "text" in content:
                text.append(content["text"])
            else:
                last = content
    used = usage(prompt, last["completion_tokens"])
    return reply.complete("".join(text), last["finish_reason"], used)


async def _streamed(
    reply: Reply, events: AsyncGenerator[Event, None], prompt: int, with_usage: bool
) -> AsyncGenerator[str, None]:
    """Yield the server-sent events; if usage was requested, it is ``null`` in all but the last."""
    extra: dict[str, Any] = {"usage": None} if with_usage else {}
    async with aclosing(events):
        yield reply.chunk({"role": "assistant", "content": ""}, **extra)
        try:
            async for content in events:
                if "text" in content:
                    yield reply.chunk({"content": content["text"]}, **extra)
                    continue
                yield reply.chunk({}, content["finish_reason"], **extra)
                if with_usage:
                    yield reply.usage_chunk(usage(prompt, content["completion_tokens"]))
        except ApiError as error:  # the status was sent already; clients raise on an error event
            yield event(error.body())
            return
        yield DONE
