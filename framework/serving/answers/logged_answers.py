"""Answers that are logged once they are finished."""

import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

from framework.core.release import Release
from framework.serving.answers import Answers, Event, Generation, Texts, said
from framework.serving.request_log.log_writer import LogWriter
from framework.serving.request_record import current_request
from framework.serving.telemetry.outputs import judge


class LoggedAnswers:
    """Keeps a sample of what another ``Answers`` answers; see ``Answers``."""

    def __init__(self, answers: Answers, writer: LogWriter, share: float, release: Release) -> None:
        """Wrap *answers*.

        Args:
            answers: who answers.
            writer: takes the rows.
            share: of the finished requests, 0 to 1.
            release: whose answers they are.
        """
        self._answers, self._writer, self._share, self._release = answers, writer, share, release

    async def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield the other's events; a finished answer is logged."""
        row: dict[str, Any] = {}
        if isinstance(prompt := asked.payload.get("prompt"), str):
            row["text"] = prompt
        text: list[str] = []
        async with aclosing(self._answers.generate(asked)) as events:
            async for content in events:
                if "prompt_tokens" in content:
                    row["prompt_tokens"] = content["prompt_tokens"]
                    if "echo" in content:  # the text of a prompt of token ids
                        row["text"] = content["echo"]
                if "text" in content:
                    if not text:
                        row["first_token_seconds"] = time.monotonic() - asked.arrived
                    text.append(said(content))
                if "finish_reason" in content:
                    row["finish_reason"] = content["finish_reason"]
                    row["completion_tokens"] = content["completion_tokens"]
                    self._log_text(asked, row, "".join(text))
                yield content

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the other's answers, and log them: of several texts, each with its number after the id."""
        answers = await self._answers.answer_each(asked)
        if is_sampled(asked.id, self._share):
            for number, (text, answer) in enumerate(zip(asked.texts, answers, strict=True)):
                row = self._row(asked, asked.id if len(answers) == 1 else f"{asked.id}-{number}")
                given = next((answer[key] for key in ("label", "labels", "entities") if key in answer), None)
                row |= {
                    "answer": given,
                    "text": text if isinstance(text, str) else None,
                    "prompt_tokens": answer.get("tokens"),
                    "score": answer.get("score"),
                }
                self._writer.add("requests", row)
        return answers

    def _log_text(self, asked: Generation, row: dict[str, Any], answer: str) -> None:
        if not is_sampled(asked.id, self._share):
            return
        cut = row["finish_reason"] == "length" and not asked.limit_is_own
        judgment = judge(answer, cut=cut)
        row |= {
            "messages": asked.payload.get("messages"),
            "tools": asked.payload.get("tools") or None,
            "answer": answer,
            "digest": asked.payload.get("adapter") or self._release.digest,
            "adapter": (request.adapter or None) if (request := current_request()) else None,
            "bad": judgment.reason,
            "diversity": judgment.diversity,
        }
        self._writer.add("requests", self._row(asked, asked.id) | row)

    def _row(self, asked: Generation | Texts, name: str) -> dict[str, Any]:
        seconds = time.monotonic() - asked.arrived
        return {
            "id": name,
            "time": datetime.now(UTC) - timedelta(seconds=seconds),
            "release": self._release.name,
            "digest": self._release.digest,
            "route": asked.route,
            "caller": asked.caller.name,
            "seconds": seconds,
        }


def is_sampled(name: str, share: float) -> bool:
    """Return whether an answer's id is in the sample: the same in every server.

    >>> sum(is_sampled(f"chatcmpl-{number}", 0.25) for number in range(1000))
    244
    """
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64
