"""Answers within each key's limit of tokens."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from framework.serving.access.allowance import Allowances
from framework.serving.answers import Answers, Event, Generation, Texts
from framework.serving.limits import count_characters

_FIRST_GUESS = 4.0
"""Characters of one token, before any prompt was tokenized."""
_KEPT = 0.98
"""Weight of what was measured before, at each new measurement."""


class LimitedAnswers:
    """Reserves a request's expected tokens before others answer it, and settles for those it had."""

    def __init__(
        self, answers: Answers, allowances: Allowances, expected_tokens: Callable[[int], float]
    ) -> None:
        """Wrap *answers*.

        Args:
            answers: what answers.
            allowances: what each caller may use.
            expected_tokens: returns how many tokens an answer probably has, from its limit.
        """
        self._answers, self._allowances, self._expected = answers, allowances, expected_tokens
        self._characters = self._tokens = 0.0

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the events of the answer; see ``Answers``.

        Raises:
            ApiError: as ``Answers``, and 429 if the caller has too few tokens left.
        """
        allowance, characters = self._allowances.of(asked.caller), count_characters(asked.payload)
        reserved = self._prompt_tokens(characters) + self._expected(asked.limit)
        allowance.take("tokens", reserved)
        prompt: int = 0
        answer: int = 0
        try:
            async with aclosing(self._answers.generate(asked)) as events:
                async for event in events:
                    prompt = event.get("prompt_tokens") or prompt
                    answer = event.get("completion_tokens") or event.get("tokens") or answer
                    yield event
        finally:
            self._learn(characters, prompt)
            if allowance.tokens is not None:
                allowance.tokens.give(reserved - prompt - answer)

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the answer to each text; see ``Answers``.

        Raises:
            ApiError: as ``Answers``, and 429 if the caller has too few tokens left.
        """
        allowance, characters = self._allowances.of(asked.caller), count_characters(list(asked.texts))
        given = sum(len(text) for text in asked.texts if not isinstance(text, str))
        reserved = self._prompt_tokens(characters) + given
        allowance.take("tokens", reserved)
        used = 0
        try:
            answers = await self._answers.answer_each(asked)
            used = sum(answer["tokens"] for answer in answers)
        finally:
            if not given:
                self._learn(characters, used)
            if allowance.tokens is not None:
                allowance.tokens.give(reserved - used)
        return answers

    def _prompt_tokens(self, characters: int) -> float:
        """Return how many tokens a prompt of so many characters probably has."""
        return characters / (self._characters / self._tokens if self._tokens else _FIRST_GUESS)

    def _learn(self, characters: int, tokens: int) -> None:
        if tokens:
            self._characters = _KEPT * self._characters + characters
            self._tokens = _KEPT * self._tokens + tokens
