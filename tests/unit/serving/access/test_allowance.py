"""Limits of requests and tokens: how long a refused caller waits, and how reserved tokens are settled."""

import asyncio
import math

import pytest

from framework.serving.access.allowance import Allowances
from framework.serving.answers import Classification, Embedding, Generation
from framework.serving.answers.limited import LimitedAnswers
from framework.serving.api_error import ApiError
from framework.serving.caller import ANYBODY, Caller

ASKER = Caller("app", requests_per_minute=6, tokens_per_minute=600)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refused(call) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        call()
    return refusal.value


def test_retry_after_is_true() -> None:
    clock = Clock()
    allowance = Allowances(clock).of(ASKER)
    for _ in range(6):
        allowance.take("requests", 1)
    error = refused(lambda: allowance.take("requests", 1))
    assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", 10)
    clock.now += 9
    assert refused(lambda: allowance.take("requests", 1)).retry_after == 1
    clock.now += 1
    allowance.take("requests", 1)
    assert allowance.headers()["x-ratelimit-remaining-requests"] == "0"
    clock.now += 600
    assert allowance.headers()["x-ratelimit-remaining-requests"] == "6"
    assert allowance.headers()["x-ratelimit-limit-tokens"] == "600"


def test_request_over_the_whole_limit_is_answered_once_and_paid_later() -> None:
    clock = Clock()
    allowance = Allowances(clock).of(ASKER)
    allowance.take("tokens", 900)
    assert allowance.headers()["x-ratelimit-remaining-tokens"] == "0"
    assert refused(lambda: allowance.take("tokens", 100)).retry_after == 40  # 300 owed, 10 come a second


def test_limits_change_with_the_keys_and_what_is_left_stays() -> None:
    clock = Clock()
    allowances = Allowances(clock)
    allowances.of(ASKER).take("tokens", 500)
    raised = allowances.of(Caller("app", tokens_per_minute=1200))
    assert raised.headers()["x-ratelimit-remaining-tokens"] == "100"
    assert raised.requests is None
    assert (
        allowances.of(Caller("app", tokens_per_minute=60)).headers()["x-ratelimit-remaining-tokens"] == "60"
    )
    assert allowances.of(ANYBODY).headers() == {}
    allowances.of(ANYBODY).take("tokens", math.inf)


class Answered:
    """Answers with 30 tokens of a prompt, and 7 of text."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses

    async def generate(self, asked):
        if self.refuses:
            raise ApiError(429, "busy", code="overloaded", retry_after=3)
        yield {"prompt_tokens": 30}
        yield {"text": "a", "tokens": 3}
        yield {"finish_reason": "stop", "completion_tokens": 7}

    async def answer_each(self, asked):
        return [{"tokens": 12, "batch": 1} for _ in asked.texts]


def left(allowances: Allowances) -> int:
    return int(allowances.of(ASKER).headers()["x-ratelimit-remaining-tokens"])


def generation(characters: int = 80, limit: int = 50) -> Generation:
    return Generation({"messages": [{"content": "x" * characters}]}, limit, True, ASKER, 0.0)


def test_reserved_tokens_are_settled_by_those_used() -> None:
    allowances = Allowances(Clock())
    answers = LimitedAnswers(Answered(), allowances, float)

    async def ask(events: int | None = None) -> int:
        stream, during = answers.generate(generation()), 0
        async for event in stream:
            during = left(allowances)
            if "text" in event and events:
                await stream.aclose()
                break
        return during

    assert asyncio.run(ask()) == 600 - 80 / 4 - 50, "reserved: the prompt's estimate and the answer's"
    assert left(allowances) == 600 - 37
    asyncio.run(ask(events=2))  # the client leaves
    assert left(allowances) == 600 - 37 - 33
    texts = Classification(["a", "b"], ASKER, 0.0)
    asyncio.run(answers.answer_each(texts))
    assert left(allowances) == 600 - 37 - 33 - 24


def test_token_ids_are_reserved_as_many_as_there_are() -> None:
    allowances, during = Allowances(Clock()), []

    class Looks(Answered):
        async def answer_each(self, asked):
            during.append(left(allowances))
            return await super().answer_each(asked)

    answers = LimitedAnswers(Looks(), allowances, float)
    asyncio.run(answers.answer_each(Embedding([[1] * 100, "x" * 40], ASKER, 0.0)))
    assert (during, left(allowances)) == ([600 - 100 - 40 / 4], 600 - 24)


def test_estimate_of_a_prompt_is_learned() -> None:
    allowances = Allowances(Clock())
    answers = LimitedAnswers(Answered(), allowances, float)

    async def ask() -> int:
        async for _ in answers.generate(generation(characters=300)):
            return left(allowances)
        return 0

    before = asyncio.run(ask())
    start = left(allowances)
    assert before == 600 - 300 / 4 - 50
    assert asyncio.run(ask()) == start - 30 - 50


def test_refused_request_costs_no_tokens_and_one_over_the_limit_is_not_asked() -> None:
    allowances = Allowances(Clock())

    async def ask(answers, limit=50) -> None:
        async for _ in answers.generate(generation(limit=limit)):
            pass

    overloaded = LimitedAnswers(Answered(refuses=True), allowances, float)
    assert refused(lambda: asyncio.run(ask(overloaded))).code == "overloaded"
    assert left(allowances) == 600
    answers = LimitedAnswers(Answered(), allowances, float)
    asyncio.run(ask(answers))
    error = refused(lambda: asyncio.run(ask(answers, limit=580)))
    assert (error.code, left(allowances)) == ("rate_limit_exceeded", 563)
