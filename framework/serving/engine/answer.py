"""An answer that is being generated: its tokens become text, calls and log probabilities."""

import time
from collections.abc import Sequence
from typing import Any

from framework.build.engine import Scored
from framework.serving.engine.prompts import Prompt
from framework.serving.engine.tokenization import CUT, StreamedText, UntilStop
from framework.serving.engine.tool_parser import Calls, ToolParser


class Answer:
    """Collects what one request's tokens say."""

    def __init__(self, prompt: Prompt, tokenizer: Any) -> None:
        self.prompt = prompt
        self.count = 0
        """Tokens so far."""
        self.since = time.monotonic()
        """When it began."""
        self.begun = False
        self.stopped = False
        """Whether the answer is complete, although the engine would go on."""
        self._tokenizer = tokenizer
        self._until = UntilStop(prompt.stops)
        self._text = StreamedText(self._decode)
        tools = prompt.tools
        self._parser = ToolParser(tools.form, tools.names) if tools else None
        self._scores: list[dict[str, Any]] = []

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        # A NUL is no text: a request that sends the answer back would be refused.
        return str(text).replace("\0", "")

    def add(self, tokens: Sequence[int], scores: Sequence[Scored], ended: bool) -> dict[str, Any] | None:
        """Return the event of what *tokens* add, up to a stop sequence; None if that is nothing yet.

        Args:
            tokens: the next ones.
            scores: their log probabilities, or nothing.
            ended: whether these are the last.
        """
        text, calls = "", Calls()
        for index, token in enumerate(tokens):
            self.count += 1
            if scores:
                self._scores.append(self._scored(scores[index]))
            text, calls = self._read(self._until.push(self._text.push(token)), text, calls)
            self.stopped = self.stopped or self._until.stopped
            if self.stopped:
                break
        if ended and not self.stopped:
            text, calls = self._read(
                self._until.push(self._text.finish()) + self._until.finish(), text, calls
            )
        if self._parser and (ended or self.stopped) and not (calls and not self._parallel):
            text += self._parser.finish()
        if not (text or calls or (self._scores and (ended or self.stopped))):
            return None
        event: dict[str, Any] = {"text": text, "tokens": self.count}
        if calls:
            event["calls"] = [{"name": name, "arguments": arguments} for name, arguments in calls]
        if self._scores:
            event["logprobs"], self._scores = self._scores, []
        return event

    @property
    def _parallel(self) -> bool:
        return self.prompt.tools is None or self.prompt.tools.parallel

    def _read(self, piece: str, text: str, calls: Calls) -> tuple[str, Calls]:
        """Return *text* and *calls* with those of *piece*."""
        if self._parser is None:
            return text + piece, calls
        more, new = self._parser.push(piece)
        if new and not self._parallel:
            new, self.stopped = new[:1], True
        return text + more, calls + new

    def last(self, limited: bool) -> dict[str, Any]:
        """Return the last event; *limited* says whether the limit ended the answer."""
        called = self._parser is not None and self._parser.found
        reason = "length" if limited else "tool_calls" if called else "stop"
        return {"finish_reason": reason, "completion_tokens": self.count}

    def _scored(self, score: Scored) -> dict[str, Any]:
        """Return OpenAI's object of one token's log probability."""
        return {
            **self._named(score.token, score.logprob),
            "top_logprobs": [self._named(*pair) for pair in score.top],
        }

    def _named(self, token: int, logprob: float | None) -> dict[str, Any]:
        text = str(self._tokenizer.decode([token], clean_up_tokenization_spaces=False))
        return {"token": text, "logprob": logprob, "bytes": None if CUT in text else list(text.encode())}
