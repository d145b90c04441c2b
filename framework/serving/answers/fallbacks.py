"""Who can answer in place of the release: a fixed text, or a model elsewhere."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from importlib.util import find_spec
from typing import Any

from framework.core.errors import ServeError
from framework.serving.answers import Event, Generation
from framework.serving.answers.answer_use import FALLBACK
from framework.serving.answers.fallback_answers import Fallback, Unanswered
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.answers.fallback_request import check_conversation, request_body
from framework.serving.answers.fallback_stream import BrokenStream, read_events
from framework.serving.api_error import ApiError
from framework.serving.outbound.address import resolve
from framework.serving.outbound.destination import Destination, Unreachable
from framework.serving.telemetry.cache_metrics import OutboundMetrics

Begun = tuple[Event, AsyncGenerator[Event, None], AsyncExitStack]
"""The first event of an answer, the others, and what ends its connection."""


class _Failed(Exception):
    """The service elsewhere failed, or is overloaded."""


def open_fallback(options: FallbackOptions, metrics: OutboundMetrics) -> Fallback:
    """Return the fallback that *options* name.

    Raises:
        ServeError: a package or an environment variable is missing.
    """
    return FixedText(options.text) if options.text is not None else RemoteModel(options, metrics)


class FixedText:
    """Answers every conversation with one text."""

    def __init__(self, text: str) -> None:
        self.model = "fallback"
        self._text = text
        self.digest = _digest(text)

    async def answer(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the text, which has no tokens.

        Raises:
            Unanswered: the request wants what no text is: JSON, a call, or log probabilities.
        """
        payload, sampling = asked.payload, asked.payload["sampling"]
        check_conversation(payload)
        wanted = {
            "response_format": sampling.get("grammar"),
            "tool_choice": (payload.get("calls") or {}).get("required"),
            "logprobs": sampling.get("top_logprobs") is not None,
        }
        if name := next((name for name, value in wanted.items() if value), None):
            raise Unanswered(f"a fixed text has no {name}", name)
        yield {"prompt_tokens": 0}
        yield {"text": self._text, "tokens": 0}
        yield {"finish_reason": "stop", "completion_tokens": 0}

    async def close(self) -> None:
        """Do nothing."""


class RemoteModel:
    """Asks a model at an OpenAI-compatible endpoint, for streams."""

    def __init__(self, options: FallbackOptions, metrics: OutboundMetrics) -> None:
        if find_spec("httpx") is None:
            raise ServeError("serving.fallback.url needs the package httpx: pip install 'gitune[serve]'")
        import httpx

        assert options.url is not None
        assert options.model is not None
        url = resolve(options.url, "serving.fallback.url").rstrip("/")
        self.model = options.model
        self.digest = _digest(f"{url} {options.model}")
        headers = {FALLBACK: "1"}  # a server that is its own fallback must not ask itself forever
        if options.key is not None:
            if not (key := os.environ.get(options.key, "").strip()):
                raise ServeError(f"serving.fallback.key: the environment variable {options.key} is not set")
            headers["Authorization"] = f"Bearer {key}"
        self._url = f"{url}/chat/completions"
        self._seconds = options.seconds
        self._client = httpx.AsyncClient(headers=headers, timeout=options.seconds)
        self._failures = (_Failed, BrokenStream, TimeoutError, httpx.TransportError)
        self._service = Destination("fallback", self._failures, observe=metrics.observe)
        metrics.watch(self._service.name, lambda: self._service.breaker.is_open)

    async def answer(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the events of its answer to the conversation as they come.

        Raises:
            Unanswered: before the first event: it cannot be asked for this, refuses, or does not answer.
            ApiError: 503, after it: the answer was broken off.
        """
        body = request_body(asked, self.model)
        try:
            first, events, connection = await self._service.call(lambda: self._begin(body))
        except Unreachable as error:
            raise Unanswered(str(error)) from None
        async with connection:
            yield first
            try:
                async for event in events:
                    yield event
            except self._failures as error:
                reason = f"The fallback's answer was broken off ({type(error).__name__}); retry"
                raise ApiError(503, reason, code="fallback_failed", retry_after=1) from None

    async def _begin(self, body: dict[str, Any]) -> Begun:
        """Return an answer that has begun.

        Raises:
            Unanswered: the endpoint refuses the request.
            Exception: one of ``_failures``.
        """
        async with AsyncExitStack() as connection, asyncio.timeout(self._seconds):
            stream = self._client.stream("POST", self._url, json=body)
            response = await connection.enter_async_context(stream)
            if response.status_code == 429 or response.status_code >= 500:
                raise _Failed(f"status {response.status_code}")
            if response.status_code != 200:
                raise Unanswered(f"it refuses the request with status {response.status_code}")
            events = await connection.enter_async_context(aclosing(read_events(response.aiter_lines())))
            return await anext(events), events, connection.pop_all()

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
