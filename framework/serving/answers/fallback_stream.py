"""What a model elsewhere answers: the chunks of OpenAI's stream as events."""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from pydantic import BaseModel, ValidationError

from framework.serving.answers import Event

_DATA = "data:"
_DONE = "[DONE]"


class BrokenStream(Exception):
    """The stream is not OpenAI's, says that it failed, or ended too early."""


class _Function(BaseModel):
    name: str | None = None
    arguments: str | None = None


class _Call(BaseModel):
    index: int = 0
    function: _Function = _Function()


class _Delta(BaseModel):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Scores(BaseModel):
    content: list[dict[str, Any]] | None = None


class _Choice(BaseModel):
    delta: _Delta = _Delta()
    logprobs: _Scores | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(BaseModel):
    """What is read of a ``chat.completion.chunk``, or of an error in its place."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


class _Answer:
    """One answer, as far as its chunks have come."""

    def __init__(self) -> None:
        self.begun = False
        self.finish_reason: str | None = None
        self._pieces, self._usage = 0, _Usage()
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, chunk: _Chunk) -> Event | None:
        """Take a chunk; return its text as an event, if it has some."""
        self._usage = chunk.usage or self._usage
        if not chunk.choices:
            return None
        choice = chunk.choices[0]
        delta, scores = choice.delta, (choice.logprobs and choice.logprobs.content) or []
        for piece in delta.tool_calls or ():
            call = self._calls.setdefault(piece.index, {"name": "", "arguments": ""})
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""
        self.finish_reason = choice.finish_reason or self.finish_reason
        self.begun = self.begun or bool(delta.content or delta.tool_calls or self.finish_reason)
        if not (delta.content or scores):
            return None
        self._pieces += len(scores) or 1
        text = {"text": delta.content or "", "tokens": self._usage.completion_tokens or self._pieces}
        return text | ({"logprobs": scores} if scores else {})

    def last(self) -> list[Event]:
        """Return the last events: the calls, which are whole now, and the end with all tokens.

        Raises:
            BrokenStream: the answer has no end.
        """
        if self.finish_reason is None:
            raise BrokenStream("it ended without a finish_reason")
        tokens = self._usage.completion_tokens or self._pieces
        calls = [self._calls[index] for index in sorted(self._calls)]
        end = {"finish_reason": self.finish_reason, "completion_tokens": tokens}
        end["prompt_tokens"] = self._usage.prompt_tokens
        return [*([{"text": "", "tokens": tokens, "calls": calls}] if calls else []), end]


async def read_events(lines: AsyncIterable[str]) -> AsyncGenerator[Event, None]:
    """Yield the events of the answer in *lines*, the first one when it begins; see ``answers.Event``.

    The prompt's tokens are known at the end: the first event says 0, and the last one how many there were.

    Raises:
        BrokenStream: it is broken off, or says that the model failed.
    """
    answer, told = _Answer(), False
    async for line in lines:
        if not line.startswith(_DATA):
            continue  # a comment, or a blank line between events
        if (data := line[len(_DATA) :].strip()) == _DONE:
            break
        try:
            chunk = _Chunk.model_validate_json(data)
        except ValidationError:
            raise BrokenStream("it is no stream of chat.completion.chunk") from None
        if chunk.error is not None:
            raise BrokenStream("it reports an error")
        text = answer.add(chunk)
        if answer.begun and not told:
            told = True
            yield {"prompt_tokens": 0}
        if text is not None:
            yield text
    for event in answer.last():
        yield event
