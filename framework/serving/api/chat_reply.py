"""The JSON of chat completions: complete ones, and the chunks of a stream."""

import json
import uuid
from dataclasses import dataclass, replace
from typing import Any

from framework.serving.answers.answer_use import AnswerUse

DONE = "data: [DONE]\n\n"


def usage(prompt: int, completion: int) -> dict[str, int]:
    """Return the usage object."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


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
        """Return the reply of whoever answered: the release, or a substitute."""
        if (substitute := use.substitute) is None:
            return self
        other = Reply.new(substitute.model, self.created, substitute.digest)
        return replace(other, id=self.id)

    def complete(self, text: str, finish_reason: str, used: dict[str, int]) -> dict[str, Any]:
        """Return a complete ``chat.completion``."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": used}

    def chunk(self, delta: dict[str, str], finish_reason: str | None = None, **extra: Any) -> str:
        """Return a ``chat.completion.chunk`` as one server-sent event."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
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
