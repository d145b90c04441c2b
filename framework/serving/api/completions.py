"""``POST /v1/completions``."""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict, JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from framework.build.engine import Sampling
from framework.serving.answers import Event
from framework.serving.api.body import read_request
from framework.serving.api.chat_reply import DONE, event, fingerprint
from framework.serving.api.choices import Choices, usage
from framework.serving.api.operation import ASKS_MODEL, EVENTS, JSON, Operation
from framework.serving.api.replies import Completion
from framework.serving.api.sampling_request import MOST_CHOICES, SamplingRequest, Unsupported
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.middleware.disconnect import unless_disconnected

PATH = "/v1/completions"
DEFAULT_TOKENS = 16
"""OpenAI's limit of an answer that asks for none."""
Ids = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]

SEVERAL = Field(min_length=1, max_length=MOST_CHOICES)
_NO_ECHO: JsonDict = {"properties": {"echo": {"enum": [None, False]}}}
_ONE: list[JsonDict] = [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]
_NO_SCORES: JsonDict = {"properties": {"logprobs": {"type": "null"}}}

_FEW: list[JsonValue] = [
    {"properties": {"n": {"maximum": n}, "prompt": {"anyOf": [*_ONE, {"maxItems": MOST_CHOICES // n}]}}}
    for n in range(1, MOST_CHOICES + 1)
    if MOST_CHOICES // n > MOST_CHOICES // (n + 1)
]
"""Prompts times answers to each are at most ``MOST_CHOICES``."""


class CompletionRequest(SamplingRequest):
    """Every field of OpenAI's API, and some of vLLM's."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [{"anyOf": [_NO_ECHO, _NO_SCORES]}, {"anyOf": _FEW}]}
    )

    prompt: str | Ids | Annotated[list[str], SEVERAL] | Annotated[list[Ids], SEVERAL]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Unsupported = None

    def prompts(self) -> list[str | list[int]]:
        """Return each prompt, as text or as token ids."""
        prompt: Any = self.prompt
        several = isinstance(prompt, list) and not isinstance(prompt[0], int)
        return list(prompt) if several else [prompt]

    def sampling(self) -> Sampling:
        """Return the sampling; see the base class."""
        return replace(super().sampling(), top_logprobs=self.logprobs)

    def payloads(self, *, in_words: bool = False) -> list[dict[str, Any]]:
        """Return what the engine's process reads, for each answer to each prompt.

        Args:
            in_words: whether to ask for the text of token ids, too.

        Raises:
            ApiError: 400, fields contradict each other, or there are too many answers.
        """
        if self.echo and self.logprobs is not None:
            raise ApiError(400, "echo has no logprobs of the prompt; leave out one of both", param="echo")
        prompts, samplings = self.prompts(), self.samplings()
        if len(prompts) * len(samplings) > MOST_CHOICES:
            raise ApiError(400, f"a request has at most {MOST_CHOICES} answers", param="n")
        stops = self.stops()
        return [
            {
                "prompt": prompt,
                "stops": stops,
                "echo": bool(self.echo or (in_words and not isinstance(prompt, str))),
                "sampling": asdict(sampling),
            }
            for prompt in prompts
            for sampling in samplings
        ]


class Completions:
    """Continues texts."""

    operations = (
        Operation(
            "POST",
            PATH,
            "Continue a text",
            CompletionRequest,
            replies={JSON: Completion, EVENTS: Completion},
            errors=ASKS_MODEL,
            example={"prompt": "Hello"},
        ),
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self.routes = [Route(PATH, self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """Continue one or more texts, in one response or as a stream."""
        arrived = time.monotonic()
        service = self._service
        body = read_request(CompletionRequest, await request.body())
        adapter = service.adapter(body.model)
        payloads = service.adapted(body.payloads(in_words=service.log is not None), adapter)
        most = service.limits.max_new_tokens
        limit, own = body.limit(most)
        limit = limit if own else min(DEFAULT_TOKENS, most)
        # A token has at least one character, so this bounds ids, too.
        service.check_length(max(map(len, body.prompts())), "prompt")
        name = f"cmpl-{uuid.uuid4().hex}"
        reply = {
            "id": name,
            "object": "text_completion",
            "created": service.created,
            "model": body.model,
            "system_fingerprint": fingerprint(adapter or service.release.digest),
        }
        # 16 tokens are the API's limit, not the server's: an answer that it cuts is no bad one.
        # From here on, another release can take over; this one answers.
        choices = await Choices.begin(request, service, payloads, (limit, True), arrived, name)
        if body.stream:
            stream = _streamed(reply, choices, body)
            return StreamingResponse(stream, media_type="text/event-stream")
        answers = await unless_disconnected(request, choices.complete())
        listed = [
            _choice(
                index,
                (choices.firsts[index]["echo"] if body.echo else "") + answer.text,
                _logprobs(answer.logprobs, 0) if body.logprobs is not None else None,
                answer.finish_reason,
            )
            for index, answer in enumerate(answers)
        ]
        return JSONResponse({**reply, "choices": listed, "usage": _used(choices, body)})


def _used(choices: Choices, body: CompletionRequest) -> dict[str, int]:
    prompts = choices.firsts[:: body.n or 1]
    return usage(sum(first["prompt_tokens"] for first in prompts), choices.completion_tokens)


async def _streamed(
    reply: dict[str, Any], choices: Choices, body: CompletionRequest
) -> AsyncGenerator[str, None]:
    def extra() -> dict[str, Any]:
        running = _used(choices, body) if body.with_running_usage else None
        return {"usage": running} if body.with_usage else {}

    async with aclosing(choices.events()) as events:
        for index, first in enumerate(choices.firsts):
            if body.echo:
                yield event({**reply, "choices": [_choice(index, first["echo"], None, None)], **extra()})
        try:
            async for index, content in events:
                piece = _piece(index, content, len(choices.choices[index].text))
                choices.choices[index].add(content)
                yield event({**reply, "choices": [piece], **extra()})
        except ApiError as error:  # the status was sent already; clients raise on an error event
            yield event(error.body())
            return
        if body.with_usage:
            yield event({**reply, "choices": [], "usage": _used(choices, body)})
        yield DONE


def _piece(index: int, content: Event, start: int) -> dict[str, Any]:
    """Return a chunk's choice, whose text begins at the character *start*."""
    scores = _logprobs(content["logprobs"], start) if "logprobs" in content else None
    return _choice(index, content.get("text", ""), scores, content.get("finish_reason"))


def _choice(
    index: int, text: str, logprobs: dict[str, Any] | None, finish_reason: str | None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}


def _logprobs(scores: list[dict[str, Any]], start: int) -> dict[str, Any]:
    """Return the object of this older API."""
    tokens, offsets = [score["token"] for score in scores], []
    for token in tokens:
        offsets.append(start)
        start += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [score["logprob"] for score in scores],
        "top_logprobs": [
            {each["token"]: each["logprob"] for each in [*score["top_logprobs"], score]} for score in scores
        ],
        "text_offset": offsets,
    }
