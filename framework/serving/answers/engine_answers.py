"""Answers of the engine's process."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator
from typing import Any

from framework.serving.answers import Event, Generation, Texts, said
from framework.serving.api_error import ApiError, read_error
from framework.serving.caller import Caller
from framework.serving.engine.accepted import Accepted, Ticket, is_last
from framework.serving.telemetry.metrics import Metrics
from framework.serving.telemetry.outputs import judge
from framework.serving.telemetry.traces import active_trace


class EngineAnswers:
    """Turns requests into tickets of the engine, and counts what becomes of them; see ``Answers``."""

    def __init__(self, accepted: Accepted, metrics: Metrics, queue_timeout: float) -> None:
        """Ask the engine that *accepted* is for.

        Args:
            accepted: holds the requests.
            metrics: count them.
            queue_timeout: seconds from a request's arrival in which its answer must begin.
        """
        self._accepted, self._metrics, self._queue_timeout = accepted, metrics, queue_timeout

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the engine's events; see ``Answers``."""
        self._accepted.admit(caller=asked.caller)
        payload = {**asked.payload, "limit": [asked.limit, asked.limit_is_own]}
        ticket = self._accepted.add(payload, self._accepted.expected_tokens(asked.limit), asked.caller)
        self._metrics.queue.enter(str(ticket.number))
        counted = _Counted(self._metrics, asked)
        try:
            content = await self._first(ticket, asked.arrived)
            while True:
                if "error" in content:
                    raise read_error(content)
                self._metrics.queue.leave(str(ticket.number))
                counted.add(content)
                yield content
                if is_last(content):
                    return
                content = await ticket.events.get()
        finally:
            self._metrics.queue.leave(str(ticket.number))
            self._accepted.remove(ticket)
            counted.trace()

    async def tell(self, payload: dict[str, Any], caller: Caller) -> dict[str, Any]:
        """Return what the engine's process tells without its model; see ``framework.serving.engine.told``.

        Raises:
            ApiError: it is refused, or failed.
        """
        self._accepted.admit(caller=caller)
        ticket = self._accepted.add(payload, 1.0, caller)
        try:
            told = await self._first(ticket, time.monotonic())
        finally:
            self._accepted.remove(ticket)
        if "error" in told:
            raise read_error(told)
        return told

    async def _first(self, ticket: Ticket, arrived: float) -> Event:
        """Return a request's first event.

        Raises:
            ApiError: 503, it has waited too long; the estimate that it was accepted by was wrong.
        """
        try:
            async with asyncio.timeout(arrived + self._queue_timeout - time.monotonic()):
                return await ticket.events.get()
        except TimeoutError:
            raise ApiError(
                503,
                f"No answer has begun within {self._queue_timeout:g} seconds; retry later",
                code="queue_timeout",
                retry_after=max(1, math.ceil(self._accepted.expected_wait())),
            ) from None

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the engine's answers; see ``Answers``."""
        self._accepted.admit(len(asked.texts), asked.caller)
        tickets = [self._accepted.add(asked.payload(text), 1.0, asked.caller) for text in asked.texts]
        for ticket in tickets:
            self._metrics.queue.enter(str(ticket.number))
        answers = []
        try:
            for ticket in tickets:
                answer = await self._first(ticket, asked.arrived)
                if "error" in answer:
                    raise read_error(answer)
                self._metrics.queue.leave(str(ticket.number))
                answers.append(answer)
        finally:
            for ticket in tickets:
                self._metrics.queue.leave(str(ticket.number))
                self._accepted.remove(ticket)
        began = [answer["began"] for answer in answers if "began" in answer]
        if (trace := active_trace()) is not None and began:
            trace.add("queue", asked.arrived, min(began))
            trace.add("batch", min(began), time.monotonic(), texts=len(answers))
        for answer in answers:
            self._metrics.batch_rows.observe(answer["batch"])
            self._metrics.prompt_length.observe(answer["tokens"])
            self._metrics.began(asked.arrived, answer.pop("began", None))
        self._metrics.prompt_tokens.inc(sum(answer["tokens"] for answer in answers))
        return answers


class _Counted:
    """Counts the events of one answer as they come."""

    def __init__(self, metrics: Metrics, asked: Generation) -> None:
        self._metrics, self._asked = metrics, asked
        self._text: list[str] = []
        self._tokens, self._last = 0, 0.0
        self._began: float | None = None
        self._first: float | None = None

    def add(self, content: Event) -> None:
        """Count the next event."""
        metrics = self._metrics
        if "prompt_tokens" in content:
            metrics.read_prompt(content["prompt_tokens"])
            self._began = content.pop("began", None)
            metrics.began(self._asked.arrived, self._began)
        if "text" in content:
            self._add_text(said(content), content["tokens"])
        if "finish_reason" in content:
            cut = content["finish_reason"] == "length" and not self._asked.limit_is_own
            metrics.judged(judge("".join(self._text), cut=cut), content["completion_tokens"])

    def _add_text(self, text: str, tokens: int) -> None:
        now = time.monotonic()
        if not self._text:
            self._first = now
            self._metrics.spoke(now - self._asked.arrived)
        elif new := tokens - self._tokens:
            for _ in range(new):
                self._metrics.inter_token.observe((now - self._last) / new)
        self._text.append(text)
        self._tokens, self._last = tokens, now

    def trace(self) -> None:
        """Add what the engine did to the request's trace, as far as it came."""
        if (trace := active_trace()) is None:
            return
        now = time.monotonic()
        trace.add("queue", self._asked.arrived, now if self._began is None else self._began)
        if self._began is not None:
            trace.add("prefill", self._began, now if self._first is None else self._first)
        if self._first is not None:
            trace.add("decode", self._first, now, tokens=self._tokens)
