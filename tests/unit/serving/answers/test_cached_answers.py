"""Deterministic answers are computed once; a real engine is behind test_cache.py of the integration tests."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from scripted_answers import ScriptedAnswers, asking, classifying, embedding, everything, settle

from framework.core import metric_names as names
from framework.core.release import Release
from framework.serving.answers.answer_use import AnswerUse, begin_use
from framework.serving.answers.cached_answers import CachedAnswers
from framework.serving.answers.memory_cache import MemoryCache
from framework.serving.api_error import ApiError
from framework.serving.caller import Caller
from framework.serving.telemetry.metrics import Metrics

RELEASE = Release.read(Path(__file__).parents[3] / "golden" / "tiny.lock")


class Cached:
    """A cache over scripted answers."""

    def __init__(self, digest="sha256:a", failure=None, memory=None):
        self.metrics = Metrics(RELEASE)
        self.inner = ScriptedAnswers(failure)
        self.memory = memory or MemoryCache(2**20, 60)
        self.answers = CachedAnswers(self.inner, digest, self.memory, None, self.metrics)

    async def generate(self, **request):
        return await everything(self.answers.generate(asking(**request)))

    def count(self, source):
        return self.metrics.registry.get_sample_value(names.CACHE_ANSWERS, {"source": source})


def opened(**options):
    cached = Cached(**options)
    cached.inner.gate.set()
    return cached


def test_second_answer_replays_the_events_of_the_first():
    async def scenario():
        cached = opened()
        first, second = await cached.generate(), await cached.generate()
        assert first == second
        assert second[-1] == {"finish_reason": "stop", "completion_tokens": 2}
        assert cached.inner.begun == 1
        assert (cached.count("model"), cached.count("memory")) == (1, 1)

    asyncio.run(scenario())


@pytest.mark.parametrize("change", [{"text": "ho"}, {"limit": 9}, {"temperature": 0.5, "seed": 1}])
def test_other_requests_have_other_answers(change):
    async def scenario():
        cached = opened()
        assert await cached.generate() != await cached.generate(**change)
        assert await cached.generate(**change) == await cached.generate(**change)
        assert cached.inner.begun == 2

    asyncio.run(scenario())


def test_another_model_does_not_answer():
    async def scenario():
        first = opened()
        second = opened(digest="sha256:b", memory=first.memory)
        await first.generate()
        await second.generate()
        assert second.inner.begun == 1

    asyncio.run(scenario())


def test_sampled_answers_are_computed_each_time():
    async def scenario():
        cached = opened()
        await cached.generate(temperature=0.5)
        await cached.generate(temperature=0.5)
        assert cached.inner.begun == cached.count("bypassed") == 2
        assert cached.memory.size == 0

    asyncio.run(scenario())


def test_clients_can_refuse_earlier_answers_and_keeping_theirs():
    async def scenario():
        cached = opened()
        begin_use(AnswerUse(read=False, write=False))
        await cached.generate()
        assert cached.memory.size == 0
        begin_use(AnswerUse(read=False))
        await cached.generate()
        refreshed = await cached.generate()
        begin_use(use := AnswerUse())
        assert await cached.generate() == refreshed
        assert cached.inner.begun == 3
        assert use.sources == ["memory"]

    asyncio.run(scenario())


def test_equal_requests_are_computed_once_and_followers_stream():
    async def scenario():
        cached = Cached()
        readers = [cached.answers.generate(asking()) for _ in range(3)]
        assert [await anext(reader) for reader in readers] == [{"prompt_tokens": 3}] * 3
        cached.inner.gate.set()
        rest = [await everything(reader) for reader in readers]
        assert rest[0] == rest[1] == rest[2]
        assert cached.inner.begun == 1
        assert (cached.count("model"), cached.count("joined")) == (1, 2)

    asyncio.run(scenario())


def test_computation_goes_on_while_somebody_follows():
    async def scenario():
        cached = Cached()
        leader, follower = (cached.answers.generate(asking()) for _ in range(2))
        await anext(leader)
        await anext(follower)
        await leader.aclose()
        cached.inner.gate.set()
        assert (await everything(follower))[-1]["finish_reason"] == "stop"
        assert (cached.inner.begun, cached.inner.canceled) == (1, 0)

    asyncio.run(scenario())


def test_last_reader_ends_the_computation_and_a_new_one_begins_another():
    async def scenario():
        cached = Cached()
        for _ in range(2):
            async with aclosing(cached.answers.generate(asking())) as events:
                await anext(events)
        again = cached.answers.generate(asking())  # at once: the one before is still ending
        await anext(again)
        await settle()
        follower = asyncio.create_task(everything(cached.answers.generate(asking())))
        await settle()
        cached.inner.gate.set()
        await everything(again)
        await follower
        assert (cached.inner.begun, cached.inner.canceled) == (3, 2)

    asyncio.run(scenario())


def test_failure_reaches_all_and_is_not_kept():
    async def scenario():
        cached = Cached(failure=ApiError(503, "no"))
        both = [asyncio.create_task(cached.generate()) for _ in range(2)]
        await settle()
        cached.inner.gate.set()
        results = await asyncio.gather(*both, return_exceptions=True)
        assert [result.status for result in results] == [503, 503]
        assert (cached.inner.begun, cached.memory.size) == (1, 0)
        cached.inner.failure = None
        assert len(await cached.generate()) == 3

    asyncio.run(scenario())


class RefusingOne(ScriptedAnswers):
    """Refuses one caller, for a reason of its own, once the gate opens; answers the others."""

    def __init__(self, error):
        super().__init__()
        self.error, self.callers = error, []

    async def generate(self, asked):
        self.callers.append(asked.caller.name)
        if asked.caller.name == "first":
            await self.gate.wait()
            raise self.error
        async with aclosing(super().generate(asked)) as events:
            async for event in events:
                yield event

    async def answer_each(self, asked):
        self.callers.append(asked.caller.name)
        if asked.caller.name == "first":
            await self.gate.wait()
            raise self.error
        return await super().answer_each(asked)


CALLERS = [Caller(name) for name in ("first", "second", "third")]


@pytest.mark.parametrize(
    "error",
    [
        ApiError(429, "share", code="overloaded", retry_after=3),
        ApiError(429, "limit", code="rate_limit_exceeded", retry_after=3),
        ApiError(503, "waited", code="queue_timeout"),
    ],
)
@pytest.mark.parametrize("kind", ["generate", "classify"])
def test_one_callers_refusal_is_not_that_of_others(error, kind):
    async def scenario():
        cached = Cached()
        cached.answers._inner = inner = RefusingOne(error)
        uses = [AnswerUse() for _ in CALLERS]

        async def ask(caller, use):
            begin_use(use)
            if kind == "classify":
                return await cached.answers.answer_each(replace(classifying("a", "b"), caller=caller))
            return await everything(cached.answers.generate(replace(asking(), caller=caller)))

        waiting = [asyncio.create_task(ask(*pair)) for pair in zip(CALLERS, uses, strict=True)]
        await settle()
        inner.gate.set()
        first, second, third = await asyncio.gather(*waiting, return_exceptions=True)
        assert first is error
        assert second == third
        assert len(second) == (2 if kind == "classify" else 3)
        assert inner.callers == ["first", "second"]  # the third joined the second
        assert [use.sources for use in uses] == [["model"], ["model"], ["joined"]]

    asyncio.run(scenario())


def test_computation_that_is_canceled_is_begun_again_by_who_joined():
    async def scenario():
        cached = Cached()
        cached.answers._inner = inner = RefusingOne(ApiError(500, "not reached"))
        both = [
            asyncio.create_task(everything(cached.answers.generate(replace(asking(), caller=caller))))
            for caller in CALLERS[:2]
        ]
        await settle()
        both[0].cancel()
        (flight,) = cached.answers._flights.values()
        flight._task.cancel()
        inner.gate.set()
        assert (await both[1])[-1]["finish_reason"] == "stop"
        assert inner.callers == ["first", "second"]

    asyncio.run(scenario())


def test_only_unknown_texts_are_classified():
    async def scenario():
        cached = opened()
        await cached.answers.answer_each(classifying("a", "b"))
        answers = await cached.answers.answer_each(classifying("c", "a", "c", "b"))
        assert [answer["label"] for answer in answers] == ["C", "A", "C", "B"]
        assert cached.inner.texts == [["a", "b"], ["c"]]
        assert (cached.count("model"), cached.count("memory")) == (3, 2)

    asyncio.run(scenario())


def test_equal_texts_are_classified_once_and_a_failure_is_not_kept():
    async def scenario():
        cached = Cached(failure=ApiError(500, "no"))
        both = [asyncio.create_task(cached.answers.answer_each(classifying("a", "b"))) for _ in range(2)]
        await settle()
        cached.inner.gate.set()
        assert all(isinstance(each, ApiError) for each in await asyncio.gather(*both, return_exceptions=True))
        assert cached.inner.begun == 1
        cached.inner.failure = None
        assert len(await cached.answers.answer_each(classifying("a", "b"))) == 2

    asyncio.run(scenario())


def test_a_vector_is_kept_for_the_text_and_the_tokens_that_are_read():
    async def scenario():
        cached = opened()
        for asked in (
            classifying("a"),
            embedding("a"),
            embedding("a", most=4),
            embedding("a"),
            embedding("a", "b"),
        ):
            await cached.answers.answer_each(asked)
        assert cached.inner.texts == [["a"], ["a"], ["a"], ["b"]]
        assert (cached.count("model"), cached.count("memory")) == (4, 2)

    asyncio.run(scenario())
