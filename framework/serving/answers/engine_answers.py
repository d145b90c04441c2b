"""Answers of the engine's process."""

import time
from collections.abc import AsyncGenerator
from typing import Any

from framework.serving.answers import Classification, Event, Generation
from framework.serving.api_error import read_error
from framework.serving.engine.accepted import Accepted, is_last
from framework.serving.telemetry.metrics import Metrics
from framework.serving.telemetry.outputs import judge


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
        first, text = True, list[str]()
        try:
            while True:
                content = await ticket.events.get()
                if "error" in content:
                    raise read_error(content)
                self._metrics.queue.leave(str(ticket.number))
                if first and "text" in content:
                    first = False
                    self._metrics.first_token.observe(time.monotonic() - asked.arrived)
                self._count(content, text, cut_is_bad=not asked.limit_is_own)
                yield content
                if is_last(content):
                    return
        finally:
            self._metrics.queue.leave(str(ticket.number))
            self._accepted.remove(ticket)

    def _count(self, content: Event, text: list[str], *, cut_is_bad: bool) -> None:
        """Count one event of an answer; *text* are the answer's pieces so far, and is extended."""
        if "prompt_tokens" in content:
            self._metrics.prompt_tokens.inc(content["prompt_tokens"])
            self._metrics.prompt_length.observe(content["prompt_tokens"])
        if "text" in content:
            text.append(content["text"])
            text += [str(call) for call in content.get("calls", ())]  # a call is an answer, too
        if "finish_reason" in content:
            self._metrics.completion_tokens.inc(content["completion_tokens"])
            cut = cut_is_bad and content["finish_reason"] == "length"
            self._metrics.judged(judge("".join(text), cut=cut), content["completion_tokens"])

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
        for answer in answers:
            self._metrics.batch_rows.observe(answer["batch"])
            self._metrics.prompt_length.observe(answer["tokens"])
        self._metrics.prompt_tokens.inc(sum(answer["tokens"] for answer in answers))
        return answers
