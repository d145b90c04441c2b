"""The JSON of chat completions: complete ones, and the chunks of a stream."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from framework.serving.answers.answer_use import AnswerUse
from framework.serving.api.choices import Choice

DONE = "data: [DONE]\n\n"


def fingerprint(digest: str) -> str:
    """Return the ``system_fingerprint`` of a release's digest."""
    return f"fp_{digest.removeprefix('sha256:')[:12]}"


@dataclass(frozen=True)
class Reply:
    """The fields that every JSON object of one answer shares."""

    model: str
    created: int
    fingerprint: str
    id: str

    @classmethod
    def new(cls, model: str, created: int, digest: str) -> "Reply":
        """Return a reply with a new id; the fingerprint identifies the release's digest."""
        return cls(model, created, fingerprint(digest), f"chatcmpl-{uuid.uuid4().hex}")

    def answered(self, use: AnswerUse) -> "Reply":
        """Return the reply with the name of what answered: the release, or a substitute."""
        if (substitute := use.substitute) is None:
            return self
        other = Reply.new(substitute.model, self.created, substitute.digest)
        return replace(other, id=self.id)

    def complete(self, answers: Sequence[Choice], used: dict[str, int], *, logprobs: bool) -> dict[str, Any]:
        """Return a complete ``chat.completion``."""
        choices = []
        for index, answer in enumerate(answers):
            message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
            if answer.calls:
                message |= {"content": answer.text or None, "tool_calls": answer.calls}
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": {"content": answer.logprobs, "refusal": None} if logprobs else None,
                    "finish_reason": answer.finish_reason,
                }
            )
        return {**self._head("chat.completion"), "choices": choices, "usage": used}

    @staticmethod
    def delta(text: str, calls: Sequence[dict[str, Any]], first: int) -> dict[str, Any]:
        """Return what a chunk adds: text, and calls from the index *first* on."""
        numbered = [{"index": first + index, **call} for index, call in enumerate(calls)]
        return {
            **({"content": text} if text or not calls else {}),
            **({"tool_calls": numbered} if calls else {}),
        }

    def chunk(
        self,
        index: int,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        logprobs: Sequence[dict[str, Any]] | None = None,
        **extra: Any,
    ) -> str:
        """Return a ``chat.completion.chunk`` of one answer as one server-sent event."""
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
            "finish_reason": finish_reason,
        }
        return event({**self._head("chat.completion.chunk"), "choices": [choice], **extra})

    def usage_chunk(self, used: dict[str, int]) -> str:
        """Return the extra last chunk of ``stream_options: {include_usage: true}``."""
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": used})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def event(body: dict[str, Any]) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
