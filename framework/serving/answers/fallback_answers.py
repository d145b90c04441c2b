"""Answers of somebody else, where the engine has none."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

from framework.serving.answers import Answers, Event, Generation, Texts
from framework.serving.answers.answer_use import Substitute, current_use
from framework.serving.api_error import ApiError
from framework.serving.telemetry.cache_metrics import FallbackMetrics, FallbackReason

_FAILED = (None, "engine_failed", "queue_timeout")
"""Codes of 503 that another model may answer in place of."""
_log = logging.getLogger(__name__)


class Unanswered(Exception):
    """The fallback has no answer to this request.

    Args:
        reason: why.
        param: the field that it cannot be asked with; empty if it is not about one.
    """

    def __init__(self, reason: str, param: str = "") -> None:
        super().__init__(reason)
        self.param = param


class Fallback(Protocol):
    """Somebody who can answer in place of the release."""

    model: str
    """The name that replies give."""
    digest: str
    """What tells its answers from others', as ``sha256:<hex>``."""

    def answer(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the events of an answer; closing the generator ends it.

        Raises:
            Unanswered: before the first event: it has none.
            ApiError: after it: the answer failed.
        """

    async def close(self) -> None:
        """End its connections."""


class FallbackAnswers:
    """Lets a fallback answer what was shed or failed before its first token; see ``Answers``.

    Its answers are marked in the ``AnswerUse`` of the request, and are never cached. What the client did
    wrong, a limit of its key, and a server that starts or stops are no reasons: there, another replica
    answers better.
    """

    def __init__(self, inner: Answers, fallback: Fallback, metrics: FallbackMetrics) -> None:
        self._inner, self._fallback, self._metrics = inner, fallback, metrics

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the model's events, or else the fallback's; see ``Answers``."""
        use = current_use()
        async with aclosing(self._inner.generate(asked)) as events:
            held: list[Event] = []
            try:
                async for event in events:
                    held.append(event)
                    if "prompt_tokens" not in event:
                        break  # the answer has begun
            except ApiError as error:
                reason = _reason(error)
                if reason is None or not use.falls_back:
                    raise
                events = self._substitute(asked, error, reason)
                held = []
            async with aclosing(events):
                for event in held:
                    yield event
                async for event in events:
                    yield event

    async def _substitute(
        self, asked: Generation, error: ApiError, reason: FallbackReason
    ) -> AsyncGenerator[Event, None]:
        """Yield the fallback's events, and count its tokens.

        Raises:
            ApiError: *error*, if there is no answer, with the field that keeps the fallback from giving one.
        """
        use, fallback = current_use(), self._fallback
        prompt: int = 0
        answer: int = 0
        async with aclosing(fallback.answer(asked)) as events:
            try:
                first = await anext(events)
            except Unanswered as problem:
                self._metrics.count(reason, answered=False)
                _log.warning("the fallback has no answer: %s", problem)
                raise _named(error, problem) from None
            self._metrics.count(reason, answered=True)
            use.substitute = Substitute(fallback.model, fallback.digest, reason)
            yield first
            try:
                async for event in events:
                    prompt = event.get("prompt_tokens", prompt)
                    answer = event.get("completion_tokens") or event.get("tokens") or answer
                    yield event
            finally:
                self._metrics.add_tokens(prompt, answer)

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the model's answers: there is no fallback for them."""
        return await self._inner.answer_each(asked)


def _reason(error: ApiError) -> FallbackReason | None:
    """Return why a fallback may answer in place of *error*; None if it may not."""
    if error.status == 429 and error.code == "overloaded":
        return "shed"
    failed = error.status == 500 or (error.status == 503 and error.code in _FAILED)
    return "failed" if failed else None


def _named(error: ApiError, problem: Unanswered) -> ApiError:
    """Return *error*, with the field of the request that the fallback cannot do."""
    if not problem.param:
        return error.with_traceback(None)
    message = f"{error}; no fallback answers it either: {problem}"
    return ApiError(
        error.status, message, param=problem.param, code=error.code, retry_after=error.retry_after
    )
