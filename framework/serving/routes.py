"""The HTTP routes of a release, in front of the queue of litserve's worker.

It runs in the server process, which has neither model nor tokenizer.
"""
# ruff: noqa: TID253

import asyncio
import json
import os
import time
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from litserve.utils import LitAPIStatus, ResponseBufferItem
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from framework.build.task import open_task
from framework.core.release import Release
from framework.serving import API_KEY
from framework.serving.asgi import Counted, Keyed, install_error_handlers, unless_disconnected
from framework.serving.feedback import FeedbackRequest
from framework.serving.metrics import Metrics
from framework.serving.model_worker import SLOTS, Shared
from framework.serving.openai_api import (
    DONE,
    ApiError,
    ChatRequest,
    ClassifyRequest,
    Reply,
    event,
    read_request,
    unknown_model,
    usage,
)
from framework.serving.outputs import judge

CHAT = "/v1/chat/completions"
CLASSIFY = "/v1/classify"
OPEN = ("/health", "/ready", "/metrics")
"""Paths of probes and scrapers, which need no API key."""
FEEDBACK = "/v1/feedback"


class ChatService:
    """Puts requests into the worker's queue and turns its events into responses."""

    def __init__(self, server: Any, release: Release, limit: int, shared: Shared) -> None:
        self.server = server
        self.release = release
        self.limit = limit
        self.shared = shared
        self.metrics = Metrics(release)
        self.created = int(time.time())
        self.last_slot = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ready: Callable[[], bool] = lambda: False
        """Whether the worker has answered once; the app sets it."""

    def open(self) -> None:
        """Add the routes to litserve's application."""
        app = self.server.app
        generates = open_task(self.release.task).generates
        path, route = (CHAT, self.chat) if generates else (CLASSIFY, self.classify)
        self.metrics.ready.set_function(lambda: float(self.ready()))
        self.metrics.watch_memory("server", os.getpid)
        self.metrics.watch_memory("model", lambda: int(self.shared.model_pid.value))
        app.add_route(FEEDBACK, self.feedback, methods=["POST"])
        app.add_route(path, route, methods=["POST"])
        app.add_route("/v1/models", self.models)
        app.add_route("/v1/models/{name}", self.model)
        app.add_route("/health", self.health)
        app.add_route("/ready", self.readiness)
        app.add_route("/metrics", self.scrape)
        if key := os.environ.get(API_KEY):
            app.add_middleware(Keyed, key=key.strip(), open_paths=OPEN)
        app.add_middleware(Counted, metrics=self.metrics, route=path)  # outermost, so that 401 counts too
        install_error_handlers(app)

    async def health(self, request: Request) -> Response:
        """Answer 200 while the process runs, even if the model is still loading."""
        return PlainTextResponse("ok")

    async def readiness(self, request: Request) -> Response:
        """Answer 200 once the model has answered once, else 503."""
        if self.ready():
            return PlainTextResponse("ready")
        return PlainTextResponse("the model is loading", status_code=503)

    async def scrape(self, request: Request) -> Response:
        """Return the metrics in the format that the scraper prefers."""
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.metrics.registry), media_type=kind)

    async def feedback(self, request: Request) -> Response:
        """Count an application's feedback on an answer; only counts are kept."""
        feedback = read_request(FeedbackRequest, await request.body())
        self.metrics.reported(feedback.version(self.release.digest), feedback.answers(), feedback.rating)
        return Response(status_code=204)

    async def models(self, request: Request) -> Response:
        """List the one model."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        """Describe the model, if the path names it."""
        self._check_model(request.path_params["name"])
        return JSONResponse(self._card())

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, in one response or as a stream."""
        arrived = time.monotonic()
        body = read_request(ChatRequest, await request.body())
        self._check_model(body.model)
        messages, tools = body.conversation()
        limit = body.limit(self.limit)
        self._check_ready()
        payload = {
            "messages": messages,
            "tools": tools,
            "limit": limit,
            "stops": body.stops(),
            "sampling": asdict(body.sampling()),
        }
        reply = Reply.new(self.release.name, self.created, self.release.digest)
        events = self._generated(payload, arrived)
        try:
            # The first event may be an error, which still has a status to send.
            prompt = (await unless_disconnected(request, anext(events)))["prompt_tokens"]
        except BaseException:
            await events.aclose()
            raise
        if body.stream:
            options = body.stream_options
            stream = _streamed(reply, events, prompt, options is not None and options.include_usage)
            return StreamingResponse(stream, media_type="text/event-stream")
        return JSONResponse(await unless_disconnected(request, _answer(reply, events, prompt)))

    async def classify(self, request: Request) -> Response:
        """Classify one or more texts; they can share a batch with texts of other requests."""
        body = read_request(ClassifyRequest, await request.body())
        if body.model is not None:
            self._check_model(body.model)
        self._check_ready()
        answers = await asyncio.gather(*map(self._classified, body.texts()))
        for answer in answers:
            if "error" in answer:
                return JSONResponse(answer["error"], status_code=answer["status"])
            self.metrics.batch_rows.observe(answer["batch"])
            self.metrics.prompt_length.observe(answer["tokens"])
        tokens = sum(answer["tokens"] for answer in answers)
        self.metrics.prompt_tokens.inc(tokens)
        data = [
            {
                "index": index,
                **{key: value for key, value in answer.items() if key not in ("tokens", "batch")},
            }
            for index, answer in enumerate(answers)
        ]
        used = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "model": self.release.name, "data": data, "usage": used})

    async def _generated(
        self, payload: dict[str, Any], arrived: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the worker's events for one conversation; closing the generator cancels the worker.

        Raises:
            ApiError: the worker rejected the request, or failed.
        """
        slot = self.last_slot = (self.last_slot + 1) % SLOTS
        self.shared.cancelled[slot] = 0
        uid = uuid.uuid4().hex
        item = ResponseBufferItem(event=asyncio.Event(), response_queue=deque())
        self.server.response_buffer[uid] = item
        first, text = True, list[str]()
        try:
            self._enqueue(CHAT, uid, {**payload, "slot": slot})
            answer = self.server.data_streamer(item.response_queue, item.event, send_status=True)
            async for raw, status in answer:
                if status != LitAPIStatus.OK:
                    raise ApiError(500, "The model failed on this request; see the server's log")
                content = json.loads(raw)
                if "error" in content:
                    raise ApiError(content["status"], **_error_fields(content["error"]))
                self.metrics.queue.leave(uid)
                if first and "text" in content:
                    first = False
                    self.metrics.first_token.observe(time.monotonic() - arrived)
                self._count(content, text, cut_is_bad=not payload["limit"][1])
                yield content
        finally:
            self.metrics.queue.leave(uid)
            self.shared.cancelled[slot] = 1
            self.server.response_buffer.pop(uid, None)

    def _count(self, content: dict[str, Any], text: list[str], *, cut_is_bad: bool) -> None:
        """Count one event of an answer; *text* are the answer's pieces so far, and is extended."""
        if "prompt_tokens" in content:
            self.metrics.prompt_tokens.inc(content["prompt_tokens"])
            self.metrics.prompt_length.observe(content["prompt_tokens"])
        if "text" in content:
            text.append(content["text"])
        if "finish_reason" in content:
            self.metrics.completion_tokens.inc(content["completion_tokens"])
            cut = cut_is_bad and content["finish_reason"] == "length"
            self.metrics.judged(judge("".join(text), cut=cut), content["completion_tokens"])

    async def _classified(self, text: str) -> dict[str, Any]:
        uid = uuid.uuid4().hex
        item = ResponseBufferItem(event=asyncio.Event())
        self.server.response_buffer[uid] = item
        try:
            self._enqueue(CLASSIFY, uid, text)
            await item.event.wait()
            answer, status = item.response or ({}, LitAPIStatus.ERROR)
        finally:
            self.metrics.queue.leave(uid)
            self.server.response_buffer.pop(uid, None)
        if status != LitAPIStatus.OK:
            raise ApiError(500, "The model failed on this request; see the server's log")
        return dict(answer)

    def fail_all(self) -> None:
        """Answer every waiting request with an error; another thread calls it when the worker has died."""

        def fail() -> None:
            for item in self.server.response_buffer.values():
                item.response = ({}, LitAPIStatus.ERROR)
                if item.response_queue is not None:
                    item.response_queue.append(item.response)
                item.event.set()

        if self.loop is not None:
            self.loop.call_soon_threadsafe(fail)

    def _enqueue(self, route: str, uid: str, payload: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.metrics.queue.enter(uid)
        self.server.litapi_request_queues[route].put((0, uid, time.monotonic(), payload))

    def _check_model(self, name: str) -> None:
        if name != self.release.name:
            raise unknown_model(name, self.release.name)

    def _check_ready(self) -> None:
        if not self.ready():
            raise ApiError(503, "The model is still loading; retry in a moment", code="loading")

    def _card(self) -> dict[str, Any]:
        return {"id": self.release.name, "object": "model", "created": self.created, "owned_by": "gitune"}


async def _answer(reply: Reply, events: AsyncGenerator[dict[str, Any], None], prompt: int) -> dict[str, Any]:
    text: list[str] = []
    last: dict[str, Any] = {}
    async with aclosing(events):
        async for content in events:
            if "text" in content:
                text.append(content["text"])
            else:
                last = content
    used = usage(prompt, last["completion_tokens"])
    return reply.complete("".join(text), last["finish_reason"], used)


async def _streamed(
    reply: Reply, events: AsyncGenerator[dict[str, Any], None], prompt: int, with_usage: bool
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


def _error_fields(body: dict[str, Any]) -> dict[str, Any]:
    error = body["error"]
    return {"message": error["message"], "param": error["param"], "code": error["code"]}
