"""HTTP: the routes of a release, over the queues of litserve's worker.

Runs in the server process, which holds no model and no tokenizer. Imported only by
``framework.serving.app``.
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
from typing import Any

from litserve.utils import LitAPIStatus, ResponseBufferItem
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from framework.build.task import open_task
from framework.core.release import Release
from framework.serving import API_KEY
from framework.serving.asgi import Counted, Keyed, unless_gone, word_errors
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
"""What probes and scrapers ask, who have no API key."""
FEEDBACK = "/v1/feedback"


class Desk:
    """Takes requests, puts them into the worker's queue and words the answers."""

    def __init__(self, server: Any, release: Release, limit: int, shared: Shared) -> None:
        self.server = server
        self.release = release
        self.limit = limit
        self.shared = shared
        self.metrics = Metrics(release)
        self.created = int(time.time())
        self.taken = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ready: Callable[[], bool] = lambda: False
        """Whether the worker has answered once; the app says how to know."""

    def open(self) -> None:
        """Add the routes to litserve's application."""
        app = self.server.app
        writes = open_task(self.release.task).generates
        main = (CHAT, self.chat) if writes else (CLASSIFY, self.classify)
        self.metrics.ready.set_function(lambda: float(self.ready()))
        self.metrics.watch_memory("server", os.getpid)
        self.metrics.watch_memory("model", lambda: int(self.shared.model_pid.value))
        app.add_route(FEEDBACK, self.feedback, methods=["POST"])
        app.add_route(main[0], main[1], methods=["POST"])
        app.add_route("/v1/models", self.models)
        app.add_route("/v1/models/{name}", self.model)
        app.add_route("/health", self.health)
        app.add_route("/ready", self.readiness)
        app.add_route("/metrics", self.scrape)
        if key := os.environ.get(API_KEY):
            app.add_middleware(Keyed, key=key.strip(), open_paths=OPEN)
        app.add_middleware(Counted, metrics=self.metrics, route=main[0])  # outermost, so that refusals count
        word_errors(app)

    async def health(self, request: Request) -> Response:
        """Answer while the process runs, also while the model is still loading."""
        return PlainTextResponse("ok")

    async def readiness(self, request: Request) -> Response:
        """Answer 200 once the engine has answered once."""
        if self.ready():
            return PlainTextResponse("ready")
        return PlainTextResponse("the model is loading", status_code=503)

    async def scrape(self, request: Request) -> Response:
        """Return the metrics in the format that the scraper prefers."""
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.metrics.registry), media_type=kind)

    async def feedback(self, request: Request) -> Response:
        """Count what the application reports about an answer; nothing of it is kept."""
        asked = read_request(FeedbackRequest, await request.body())
        self.metrics.reported(asked.version(self.release.digest), asked.answers(), asked.rating)
        return Response(status_code=204)

    async def models(self, request: Request) -> Response:
        """List the one model."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        """Describe the model, if its name is asked for."""
        self._check_model(request.path_params["name"])
        return JSONResponse(self._card())

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, whole or as a stream."""
        arrived = time.monotonic()
        asked = read_request(ChatRequest, await request.body())
        self._check_model(asked.model)
        limit = asked.limit(self.limit)
        self._check_ready()
        sampling = asked.sampling()
        payload = {
            "messages": [message.plain() for message in asked.messages],
            "limit": limit,
            "stops": asked.stops(),
            "sampling": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": sampling.seed,
            },
        }
        reply = Reply.new(self.release.name, self.created, self.release.digest)
        events = self._generated(payload, arrived)
        try:
            # Or a refusal, while there is still a status to send.
            prompt = (await unless_gone(request, anext(events)))["prompt_tokens"]
        except BaseException:
            await events.aclose()
            raise
        if asked.stream:
            options = asked.stream_options
            body = _streamed(reply, events, prompt, options is not None and options.include_usage)
            return StreamingResponse(body, media_type="text/event-stream")
        return JSONResponse(await unless_gone(request, _whole(reply, events, prompt)))

    async def classify(self, request: Request) -> Response:
        """Classify one text or several; they may share a batch with other requests' texts."""
        asked = read_request(ClassifyRequest, await request.body())
        if asked.model is not None:
            self._check_model(asked.model)
        self._check_ready()
        answers = await asyncio.gather(*map(self._classified, asked.texts()))
        for answer in answers:
            if "error" in answer:
                return JSONResponse(answer["error"], status_code=answer["status"])
            self.metrics.batch_rows.observe(answer["batch"])
            self.metrics.prompt_length.observe(answer["tokens"])
        tokens = sum(answer["tokens"] for answer in answers)
        self.metrics.prompt_tokens.inc(tokens)
        data = [
            {"index": index, **{key: part for key, part in answer.items() if key not in ("tokens", "batch")}}
            for index, answer in enumerate(answers)
        ]
        used = {"prompt_tokens": tokens, "total_tokens": tokens}
        return JSONResponse({"object": "list", "model": self.release.name, "data": data, "usage": used})

    async def _generated(
        self, payload: dict[str, Any], arrived: float
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the worker's events for one conversation; left early, the worker stops too."""
        slot = self.taken = (self.taken + 1) % SLOTS
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
                found = json.loads(raw)
                if "error" in found:
                    raise ApiError(found["status"], **_parts(found["error"]))
                self.metrics.queue.leave(uid)
                if first and "text" in found:
                    first = False
                    self.metrics.first_token.observe(time.monotonic() - arrived)
                self._count(found, text, cut_is_bad=not payload["limit"][1])
                yield found
        finally:
            self.metrics.queue.leave(uid)
            self.shared.cancelled[slot] = 1
            self.server.response_buffer.pop(uid, None)

    def _count(self, found: dict[str, Any], text: list[str], *, cut_is_bad: bool) -> None:
        """Count one event of an answer whose text until now is *text*."""
        if "prompt_tokens" in found:
            self.metrics.prompt_tokens.inc(found["prompt_tokens"])
            self.metrics.prompt_length.observe(found["prompt_tokens"])
        if "text" in found:
            text.append(found["text"])
        if "finish_reason" in found:
            self.metrics.completion_tokens.inc(found["completion_tokens"])
            cut = cut_is_bad and found["finish_reason"] == "length"
            self.metrics.judged(judge("".join(text), cut=cut), found["completion_tokens"])

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
        """Answer every waiting request with an error; called from another thread when the worker died."""

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

    def _check_model(self, asked: str) -> None:
        if asked != self.release.name:
            raise unknown_model(asked, self.release.name)

    def _check_ready(self) -> None:
        if not self.ready():
            raise ApiError(503, "The model is still loading; ask again in a moment", code="loading")

    def _card(self) -> dict[str, Any]:
        return {"id": self.release.name, "object": "model", "created": self.created, "owned_by": "gitune"}


async def _whole(reply: Reply, events: AsyncGenerator[dict[str, Any], None], prompt: int) -> dict[str, Any]:
    text: list[str] = []
    last: dict[str, Any] = {}
    async with aclosing(events):
        async for found in events:
            if "text" in found:
                text.append(found["text"])
            else:
                last = found
    used = usage(prompt, last["completion_tokens"])
    return reply.whole("".join(text), last["finish_reason"], used)


async def _streamed(
    reply: Reply, events: AsyncGenerator[dict[str, Any], None], prompt: int, with_usage: bool
) -> AsyncGenerator[str, None]:
    """Yield the server-sent events; where usage was asked for, all but the last say ``null``."""
    extra: dict[str, Any] = {"usage": None} if with_usage else {}
    async with aclosing(events):
        yield reply.chunk({"role": "assistant", "content": ""}, **extra)
        try:
            async for found in events:
                if "text" in found:
                    yield reply.chunk({"content": found["text"]}, **extra)
                    continue
                yield reply.chunk({}, found["finish_reason"], **extra)
                if with_usage:
                    yield reply.usage_chunk(usage(prompt, found["completion_tokens"]))
        except ApiError as error:  # the status is long sent; clients raise on an event that is an error
            yield event(error.body())
            return
        yield DONE


def _parts(body: dict[str, Any]) -> dict[str, Any]:
    error = body["error"]
    return {"message": error["message"], "param": error["param"], "code": error["code"]}
