"""Answers whose tokens are noted in the record of the request that asked for them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from framework.serving.answers import Answers, Event, Generation, Texts
from framework.serving.request_record import current_request


class Noted:
    """Passes answers on, and notes their tokens; the outermost ``Answers``, so that it sees cached ones."""

    def __init__(self, inner: Answers) -> None:
        self._inner = inner

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the inner answer's events; see ``Answers``."""
        request = current_request()
        async with aclosing(self._inner.generate(asked)) as events:
            async for content in events:
                if request is not None:
                    request.prompt_tokens += content.get("prompt_tokens", 0)
                    request.completion_tokens += content.get("completion_tokens", 0)
                yield content

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the inner answers; see ``Answers``."""
        answers = await self._inner.answer_each(asked)
        if (request := current_request()) is not None:
            request.prompt_tokens += sum(answer["tokens"] for answer in answers)
        return answers
