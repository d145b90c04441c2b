"""Answers whose drift is watched."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from framework.requestlog.drift import Sample, words
from framework.requestlog.samples import conversation
from framework.serving.answers import Answers, Event, Generation, Texts, said
from framework.serving.telemetry.drift_watch import DriftWatch


class WatchedAnswers:
    """Shows what another ``Answers`` answers to a ``DriftWatch``; see ``Answers``."""

    def __init__(self, answers: Answers, watch: DriftWatch) -> None:
        self._answers, self._watch = answers, watch

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the other's events; a finished answer is watched."""
        text: list[str] = []
        async with aclosing(self._answers.generate(asked)) as events:
            async for content in events:
                if "text" in content:
                    text.append(said(content))
                if "finish_reason" in content:
                    self._watch.add(conversation(asked.payload.get("messages") or (), "".join(text)))
                yield content

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the other's answers; each is watched."""
        answers = await self._answers.answer_each(asked)
        for text, answer in zip(asked.texts, answers, strict=True):
            if isinstance(text, str):
                self._watch.add(Sample(words(text), None, _label(answer)))
        return answers


def _label(answer: Mapping[str, Any]) -> str | None:
    """Return a classifier's answer as the log has it; entities and vectors have no distribution."""
    if "labels" in answer:
        return json.dumps(answer["labels"], ensure_ascii=False)
    label = answer.get("label")
    return label if isinstance(label, str) else None
