"""Answers that are computed once."""

import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from framework.serving.answers import Answers, Event, Generation, Texts
from framework.serving.answers.answer_use import AnswerUse, current_use
from framework.serving.answers.cache_key import generation_key, is_deterministic, text_key
from framework.serving.answers.flight import Canceled, Flight
from framework.serving.answers.memory_cache import MemoryCache
from framework.serving.answers.redis_cache import RedisCache
from framework.serving.api_error import ApiError
from framework.serving.telemetry.cache_metrics import Source
from framework.serving.telemetry.metrics import Metrics


class CachedAnswers:
    """Keeps answers to deterministic requests, in memory and in Redis; see ``Answers``.

    Equal requests that run at the same time are answered by one computation. Only complete answers are kept,
    those that reached their limit too, because the limit is a part of the key.
    """

    def __init__(
        self, inner: Answers, digest: str, memory: MemoryCache, redis: RedisCache | None, metrics: Metrics
    ) -> None:
        self._inner, self._digest = inner, digest
        self._memory, self._redis, self._metrics = memory, redis, metrics
        self._flights: dict[str, Flight] = {}

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the events of an earlier answer, of one under way, or of a new one; see ``Answers``."""
        use = current_use()
        if not (is_deterministic(asked.payload["sampling"]) and use.write):
            self._count(use, "bypassed")
            events = self._inner.generate(asked)
        else:
            events = self._answer(asked, use)
        async with aclosing(events):
            async for event in events:
                yield event

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the answers, of which only those to unknown texts are computed; see ``Answers``."""
        use = current_use()
        if not use.write:
            self._count(use, "bypassed", len(asked.texts))
            return await self._inner.answer_each(asked)
        keys = [text_key(self._digest, asked.payload(text)) for text in asked.texts]
        texts = dict(zip(keys, asked.texts, strict=True))
        known = {key: self._recalled(key) if use.read else None for key in texts}
        answers = {key: found[0] for key, found in known.items() if found}
        self._count(use, "memory", len(answers))
        if missing := [key for key in texts if key not in answers]:
            group = hashlib.sha256("".join(missing).encode()).hexdigest()
            new = {key: texts[key] for key in missing}
            begin = partial(self._computed, new, asked, use)
            async with aclosing(self._shared(group, begin, use, len(missing))) as found:
                answers |= zip(missing, [answer async for answer in found], strict=True)
        return [answers[key] for key in keys]

    async def _answer(self, asked: Generation, use: AnswerUse) -> AsyncGenerator[Event, None]:
        key = generation_key(self._digest, asked)
        known = self._recalled(key) if use.read else None
        if known is not None:
            self._count(use, "memory")
            for event in self._timed(known, asked):
                yield event
            return
        begin = partial(self._generate, key, asked, use)
        async with aclosing(self._shared(key, begin, use)) as events:
            async for event in events:
                yield event

    def _timed(self, events: Sequence[Event], asked: Generation) -> Sequence[Event]:
        """Return the events of an earlier answer; its first text is there at once."""
        self._metrics.spoke(time.monotonic() - asked.arrived)
        return events

    async def _shared(
        self, key: str, begin: Callable[[], AsyncGenerator[Event, None]], use: AnswerUse, answers: int = 1
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of the computation for *key* that is under way, or else *begin* one.

        A computation that ends for a reason of the one who began it, such as a full share of the queue, says
        nothing about others: they go on, and the first of them begins another.
        """
        while use.read and (flight := self._flights.get(key)) is not None:
            begun = False
            try:
                async with aclosing(flight.read()) as events:
                    async for event in events:
                        if not begun:
                            begun = True
                            self._count(use, "joined", answers)
                        yield event
                return
            except (ApiError, Canceled) as error:
                if begun or not _concerns_another(error):
                    raise
        if not use.read:
            own = begin()  # a request that refuses earlier answers does not share one either
        else:
            flight = self._flights[key] = Flight(begin(), lambda: self._flights.pop(key, None))
            own = flight.read()
        async with aclosing(own):
            async for event in own:
                yield event

    async def _generate(self, key: str, asked: Generation, use: AnswerUse) -> AsyncGenerator[Event, None]:
        """Yield what Redis knows, or else a new answer, which is kept."""
        (known,) = await self._fetched([key], use)
        if known is not None:
            self._count(use, "redis")
            for event in self._timed(known, asked):
                yield event
            return
        self._count(use, "model")
        events = []
        async with aclosing(self._inner.generate(asked)) as new:
            async for event in new:
                events.append(event)
                yield event
        self._keep(key, events)

    async def _computed(
        self, texts: dict[str, str | Sequence[int]], asked: Texts, use: AnswerUse
    ) -> AsyncGenerator[Event, None]:
        """Yield the answer to each text of *texts*, by key: Redis's, or else a new one, which is kept."""
        fetched = await self._fetched([*texts], use)
        answers = {key: found[0] for key, found in zip(texts, fetched, strict=True) if found}
        self._count(use, "redis", len(answers))
        if missing := [key for key in texts if key not in answers]:
            self._count(use, "model", len(missing))
            asked = replace(asked, texts=[texts[key] for key in missing])
            for key, answer in zip(missing, await self._inner.answer_each(asked), strict=True):
                answers[key] = answer
                self._keep(key, [answer])
        for key in texts:
            yield answers[key]

    def _recalled(self, key: str) -> list[Event] | None:
        body = self._memory.get(key)
        return None if body is None else _events(body)

    async def _fetched(self, keys: list[str], use: AnswerUse) -> list[list[Event] | None]:
        """Return what Redis knows, and keep it in memory."""
        if self._redis is None or not use.read:
            return [None] * len(keys)
        found = []
        for key, body in zip(keys, await self._redis.get(keys), strict=True):
            if body is not None:
                self._memory.put(key, body)
            found.append(None if body is None else _events(body))
        return found

    def _keep(self, key: str, events: list[Event]) -> None:
        body = json.dumps(events, separators=(",", ":")).encode()
        self._memory.put(key, body)
        if self._redis is not None:
            self._redis.put(key, body)

    def _count(self, use: AnswerUse, source: Source, answers: int = 1) -> None:
        if answers:
            use.came_from(source)
            self._metrics.cache.answers.labels(source).inc(answers)


def _concerns_another(error: Exception) -> bool:
    """Return whether who joined may be answered where the one who began was not."""
    return isinstance(error, Canceled) or (
        isinstance(error, ApiError) and (bool(error.refusal) or error.code == "queue_timeout")
    )


def _events(body: bytes) -> list[Event]:
    events: list[Event] = json.loads(body)
    return events
