"""Answers whose events a test sends itself."""

import asyncio
import itertools

from framework.serving.answers import Classification, Embedding, Generation
from framework.serving.caller import ANYBODY

_numbers = itertools.count()


class ScriptedAnswers:
    """Counts computations; each waits at ``gate`` between its first event and the rest."""

    def __init__(self, failure=None):
        self.begun, self.canceled, self.texts = 0, 0, []
        self.gate = asyncio.Event()
        self.failure = failure

    async def generate(self, asked):
        self.begun += 1
        number = self.begun
        try:
            yield {"prompt_tokens": 3}
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            yield {"text": f"answer {number}", "tokens": 2}
            yield {"finish_reason": "stop", "completion_tokens": 2}
        except (GeneratorExit, asyncio.CancelledError):
            self.canceled += 1
            raise

    async def answer_each(self, asked):
        self.begun += 1
        self.texts.append(list(asked.texts))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return [{"label": text.upper(), "tokens": 1, "batch": 1} for text in asked.texts]


def asking(text="hi", temperature=0.0, seed=None, limit=None):
    sampling = {"temperature": temperature, "top_p": 1.0, "seed": seed}
    messages = [{"role": "user", "content": text}]
    payload = {"messages": messages, "tools": [], "stops": (), "sampling": sampling}
    # Each request has an id of its own, as the routes give it.
    return Generation(payload, limit or 8, limit is not None, ANYBODY, 0.0, id=f"chatcmpl-{next(_numbers)}")


def classifying(*texts):
    return Classification(texts, ANYBODY, 0.0)


def embedding(*texts, most=None):
    return Embedding(texts, ANYBODY, 0.0, most_tokens=most)


async def everything(events):
    return [event async for event in events]


async def settle():
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)
