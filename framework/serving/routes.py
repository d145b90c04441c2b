"""The HTTP routes of a release, in front of the engine's process.

It runs in the server process, which has neither model nor tokenizer.
"""

import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from framework.build.engine.model_folder import context_length
from framework.build.task import open_task
from framework.core.release import Release
from framework.serving import API_KEY
from framework.serving.accepted import Accepted, is_last
from framework.serving.asgi import Bounded, Counted, Keyed, install_error_handlers, unless_disconnected
from framework.serving.engine_supervisor import EngineSupervisor
from framework.serving.feedback import FeedbackRequest
from framework.serving.limits import Limits
from framework.serving.metrics import Metrics
from framework.serving.openai_api import (
    DONE,
    ApiError,
    ChatRequest,
    ClassifyRequest,
    Reply,
    event,
    read_error,
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


class ReleaseApi:
    """Turns requests into tickets of the engine, and its events into responses."""

    def __init__(self, release: Release, limits: Limits, folder: Path, accepted: Accepted) -> None:
        self.release = release
        self.accepted = accepted
        self.metrics = Metrics(release)
        self.created = int(time.time())
        self._limit = limits.max_new_tokens
        self._characters = limits.characters(context_length(folder))
        self._generates = open_task(release.task).generates
        self._is_ready: Callable[[], bool] = lambda: False

    def open(self, app: Starlette, supervisor: EngineSupervisor) -> None:
        """Add the routes to *app*; the probes and metrics tell how *supervisor*'s engine is."""
        path, route = (CHAT, self.chat) if self._generates else (CLASSIFY, self.classify)
        self._is_ready = lambda: supervisor.ready and self.accepted.refusal is None
        self.metrics.ready.set_function(lambda: float(self._is_ready()))
        self.metrics.watch_memory("server", os.getpid)
        self.metrics.watch_memory("model", lambda: supervisor.pid)
        self.metrics.engine_starts.set_function(lambda: float(supervisor.starts))
        app.add_route(FEEDBACK, self.feedback, methods=["POST"])
        app.add_route(path, route, methods=["POST"])
        app.add_route("/v1/models", self.models)
        app.add_route("/v1/models/{name}", self.model)
        app.add_route("/health", self.health)
        app.add_route("/ready", self.readiness)
        app.add_route("/metrics", self.scrape)
        app.add_middleware(Bounded)
        if key := os.environ.get(API_KEY):
            app.add_middleware(Keyed, key=key.strip(), open_paths=OPEN)
        app.add_middleware(Counted, metrics=self.metrics, route=path)  # outermost, so that 401 counts too
        install_error_handlers(app)

    def count_step(self, step: dict[str, Any]) -> None:
        """Count the batch of one step of generation; a classifier's texts count theirs themselves."""
        if self._generates and step["rows"]:
            self.metrics.batch_rows.observe(step["rows"])

    async def health(self, request: Request) -> Response:
        """Answer 200 while the process runs, even if the model is still loading."""
        return PlainTextResponse("ok")

    async def readiness(self, request: Request) -> Response:
        """Answer 200 once the model has answered once, else 503."""
        if self._is_ready():
            return PlainTextResponse("ready")
        return PlainTextResponse("the model is loading, or the server is shutting down", status_code=503)

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
        limit = body.limit(self._limit)
        self._check_length(body.characters(), "messages")
        self.accepted.admit()
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
        self._check_length(body.characters(), "input")
        texts = body.texts()
        self.accepted.admit(len(texts))
        answers = (await unless_disconnected(request, self._classified(texts)))["answers"]
        for answer in answers:
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
        """Yield the engine's events for one conversation; closing the generator cancels the request.

        Raises:
            ApiError: the engine rejected the request, or failed.
        """
        limit, requested = payload["limit"]
        ticket = self.accepted.add(payload, self.accepted.expected_tokens(limit))
        self.metrics.queue.enter(str(ticket.number))
        first, text = True, list[str]()
        try:
            while True:
                content = await ticket.events.get()
                if "error" in content:
                    raise read_error(content)
                self.metrics.queue.leave(str(ticket.number))
                if first and "text" in content:
                    first = False
                    self.metrics.first_token.observe(time.monotonic() - arrived)
                self._count(content, text, cut_is_bad=not requested)
                yield content
                if is_last(content):
                    return
        finally:
            self.metrics.queue.leave(str(ticket.number))
            self.accepted.remove(ticket)

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

    async def _classified(self, texts: list[str]) -> dict[str, Any]:
        """Return the answers to *texts*, under ``answers``.

        Raises:
            ApiError: the engine rejected one of them, or failed.
        """
        tickets = [self.accepted.add(text, 1.0) for text in texts]
        for ticket in tickets:
            self.metrics.queue.enter(str(ticket.number))
        answers = []
        try:
            for ticket in tickets:
                answer = await ticket.events.get()
                if "error" in answer:
                    raise read_error(answer)
                self.metrics.queue.leave(str(ticket.number))
                answers.append(answer)
        finally:
            for ticket in tickets:
                self.metrics.queue.leave(str(ticket.number))
                self.accepted.remove(ticket)
        return {"answers": answers}

    def _check_model(self, name: str) -> None:
        if name != self.release.name:
            raise unknown_model(name, self.release.name)

    def _check_length(self, characters: int, param: str) -> None:
        """Refuse a prompt that cannot fit, before it costs the time to tokenize it."""
        if characters > self._characters:
            raise ApiError(
                400,
                f"{param} has {characters} characters, but this server reads at most {self._characters}; "
                "shorten it, or raise serving.max_prompt_characters",
                param=param,
                code="context_length_exceeded",
            )

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
