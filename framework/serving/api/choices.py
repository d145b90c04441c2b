"""The answers to one request: several are generated side by side."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from framework.serving.answers import Event, Generation
from framework.serving.api.service import Service
from framework.serving.caller import caller_of
from framework.serving.middleware.disconnect import unless_disconnected

Events = AsyncGenerator[tuple[int, Event], None]
"""Events of several answers, each with the answer's index."""


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Return the usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@dataclass
class Choice:
    """What is known of one answer."""

    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    """OpenAI's objects of calls."""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = ""
    completion_tokens: int = 0

    def add(self, event: Event) -> list[dict[str, Any]]:
        """Take one event; return its calls as OpenAI's objects."""
        self.text += event.get("text", "")
        self.logprobs += event.get("logprobs", ())
        self.finish_reason = event.get("finish_reason", self.finish_reason)
        tokens: int = event.get("tokens", self.completion_tokens)
        self.completion_tokens = event.get("completion_tokens", tokens)
        calls = [
            {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": call}
            for call in event.get("calls", ())
        ]
        self.calls += calls
        return calls


class Choices:
    """The answers to one request, after the first event of each."""

    def __init__(self, sources: list[AsyncGenerator[Event, None]], firsts: list[Event]) -> None:
        self._sources = sources
        self.firsts = firsts
        """The first event of each: the prompt's length, and perhaps its text."""
        self.choices = [Choice() for _ in sources]

    @classmethod
    async def begin(
        cls,
        request: Request,
        service: Service,
        payloads: Sequence[dict[str, Any]],
        limit: tuple[int, bool],
        arrived: float,
        name: str,
    ) -> "Choices":
        """Ask for the answers, and wait until each has begun: until then an error has a status to send.

        Args:
            request: the client's.
            service: who answers.
            payloads: what the engine's process reads, for each answer.
            limit: most tokens of an answer, and whether the client set that limit.
            arrived: when the request arrived, by the monotonic clock.
            name: the reply's id. In the log the first answer has it, and feedback names it.

        Raises:
            ApiError: one is refused or failed; then all end.
        """
        caller, route = caller_of(request), request.url.path
        asked = [
            Generation(payload, *limit, caller, arrived, f"{name}-{index}" if index else name, route)
            for index, payload in enumerate(payloads)
        ]
        sources = [service.answers.generate(each) for each in asked]
        tasks = [asyncio.ensure_future(anext(source)) for source in sources]

        async def all_begun() -> list[Event]:  # a canceled gather alone does not end as canceled
            return await asyncio.gather(*tasks)

        try:
            firsts = await unless_disconnected(request, all_begun())
        except BaseException:
            await _end(dict(zip(tasks, sources, strict=True)))
            raise
        return cls(sources, firsts)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all answers so far."""
        return sum(choice.completion_tokens for choice in self.choices)

    async def complete(self) -> list[Choice]:
        """Return the answers when all have ended.

        Raises:
            ApiError: one failed.
        """
        async with aclosing(self.events()) as events:
            async for index, event in events:
                self.choices[index].add(event)
        return self.choices

    async def events(self) -> Events:
        """Yield the events of all answers as they come; closing the generator ends the answers.

        Raises:
            ApiError: one failed.
        """
        idle = list(enumerate(self._sources))
        waiting: dict[asyncio.Future[Event | None], int] = {}
        try:
            while idle or waiting:
                while idle:
                    index, source = idle.pop()
                    waiting[asyncio.ensure_future(anext(source, None))] = index
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    index = waiting.pop(task)
                    idle.append((index, self._sources[index]))
                    if (event := task.result()) is None:
                        idle.pop()
                        continue
                    if "prompt_tokens" in event:  # known only now
                        self.firsts[index] = {**self.firsts[index], "prompt_tokens": event["prompt_tokens"]}
                    yield index, event
        finally:
            await _end({task: self._sources[index] for task, index in waiting.items()})
            for _, source in idle:
                await source.aclose()


async def _end(waiting: dict[asyncio.Future[Any], AsyncGenerator[Event, None]]) -> None:
    """End sources, some of which are asked for an event by the futures.

    It does not wait for them: this task may be canceled again and again until it ends.
    """
    for task, source in waiting.items():
        if task.done():
            if not task.cancelled():
                task.exception()  # else it is logged as never retrieved
            await source.aclose()
        else:
            task.cancel()  # the source ends with it
