"""Answers of the engine's process."""

import time
from collections.abc import AsyncGenerator
from typing import Any

from framework.serving.answers import Classification, Event, Generation
from framework.serving.api_error import read_error
from framework.serving.engine.accepted import Accepted, is_last
from framework.serving.telemetry.metrics import Metrics
from framework.serving.telemetry.outputs import judge
from framework.serving.telemetry.traces import active_trace


class EngineAnswers:
    """Turns requests into tickets of the engine, and counts what becomes of them; see ``Answers``."""

    def __init__(self, accepted: Accepted, metrics: Metrics) -> None:
        self._accepted, self._metrics = accepted, metrics

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the engine's events; see ``Answers``."""
        self._accepted.admit()
        payload = {**asked.payload, "limit": [asked.limit, asked.limit_is_own]}
        ticket = self._accepted.add(payload, self._accepted.expected_tokens(asked.limit))
        self._metrics.queue.enter(str(ticket.number))
        counted = _Counted(self._metrics, asked)
        try:
            while True:
                content = await ticket.events.get()
                if "error" in content:
                    raise read_error(content)
                self._metrics.queue.leave(str(ticket.number))
                counted.add(content)
                yield content
                if is_last(content):
                    return
        finally:
            self._metrics.queue.leave(str(ticket.number))
            self._accepted.remove(ticket)
            counted.trace()

    async def classify(self, asked: Classification) -> list[dict[str, Any]]:
        """Return the engine's answers; see ``Answers``."""
        self._accepted.admit(len(asked.texts))
        tickets = [self._accepted.add(text, 1.0) for text in asked.texts]
        for ticket in tickets:
            self._metrics.queue.enter(str(ticket.number))
        answers = []
        try:
            for ticket in tickets:
                answer = await ticket.events.get()
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
            metrics.prompt_tokens.inc(content["prompt_tokens"])
            metrics.prompt_length.observe(content["prompt_tokens"])
            self._began = content.pop("began", None)
            metrics.began(self._asked.arrived, self._began)
        if "text" in content:
            self._add_text(content["text"], content["tokens"])
        if "finish_reason" in content:
            metrics.completion_tokens.inc(content["completion_tokens"])
            cut = content["finish_reason"] == "length" and not self._asked.limit_is_own
            metrics.judged(judge("".join(self._text), cut=cut), content["completion_tokens"])

    def _add_text(self, text: str, tokens: int) -> None:
        now = time.monotonic()
        if not self._text:
            self._first = now
            self._metrics.first_token.observe(now - self._asked.arrived)
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
