"""Answers whose tokens and times are part of a trace."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from framework.core.release import Release
from framework.serving.answers import Answers, Event, Generation, Texts
from framework.serving.telemetry.traces import active_trace


class TracedAnswers:
    """Adds attributes of OpenTelemetry's GenAI conventions to a request's span; see ``Answers``."""

    def __init__(self, answers: Answers, release: Release) -> None:
        self._answers, self._release = answers, release

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the other's events."""
        trace = active_trace()
        attributes: dict[str, Any] = self._named(asked) | {"gen_ai.request.max_tokens": asked.limit}
        async with aclosing(self._answers.generate(asked)) as events:
            try:
                async for content in events:
                    if "prompt_tokens" in content:
                        attributes["gen_ai.usage.input_tokens"] = content["prompt_tokens"]
                    if "text" in content:
                        attributes["gen_ai.usage.output_tokens"] = content["tokens"]
                        waited = time.monotonic() - asked.arrived
                        attributes.setdefault("gen_ai.response.time_to_first_chunk", waited)
                    if "finish_reason" in content:
                        attributes["gen_ai.usage.output_tokens"] = content["completion_tokens"]
                        attributes["gen_ai.response.finish_reasons"] = [content["finish_reason"]]
                    yield content
            finally:
                if trace is not None:
                    trace.set(attributes)

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the other's answers."""
        answers = await self._answers.answer_each(asked)
        if (trace := active_trace()) is not None:
            tokens = sum(answer["tokens"] for answer in answers)
            trace.set(self._named(asked) | {"gen_ai.usage.input_tokens": tokens})
        return answers

    def _named(self, asked: Generation | Texts) -> dict[str, Any]:
        return {"gen_ai.response.id": asked.id or None, "gen_ai.response.model": self._release.digest}
