"""Split an answer into text and tool calls while it is generated."""

import json
from collections.abc import Collection
from typing import Literal

from framework.serving.engine.tokenization import UntilStop
from framework.serving.engine.tool_format import ToolFormat

Calls = list[tuple[str, str]]
"""Names of functions and their arguments as JSON."""
_BETWEEN = ";, \n\r\t"
"""What models write between calls that have no markers."""


class ToolParser:
    """Reads one answer; what is no call of a known function stays text.

    >>> parser = ToolParser(ToolFormat("<call>", "</call>", "name", "arguments"), {"f"})
    >>> parser.push('Hm <ca'), parser.push('ll>{"name": "f", "argu')
    (('Hm ', []), ('', []))
    >>> parser.push('ments": {"a": 1}}</call> '), parser.finish()
    (('', [('f', '{"a": 1}')]), '')
    """

    def __init__(self, form: ToolFormat, names: Collection[str]) -> None:
        """Read calls of the functions *names*, written in *form*."""
        self._form, self._names = form, frozenset(names)
        self._begin, self._end = form.begin.strip(), form.end.strip()
        self._held = ""
        self._state: Literal["before", "inside", "after", "plain"] = "before"
        self.found = 0
        """Calls so far."""

    def push(self, piece: str) -> tuple[str, Calls]:
        """Return the text and the calls that are certain now that *piece* is known."""
        self._held += piece
        text, calls = "", Calls()
        while True:
            state = self._state
            got, new = getattr(self, f"_{state}")()
            text, calls = text + got, calls + new
            self.found += len(new)
            if self._state == state:
                return text, calls

    def finish(self) -> str:
        """Return the text that was held back: the answer has ended."""
        text = (self._begin if self._state == "inside" else "") + self._held
        done = self._state == "after" or (self.found and not text.strip(_BETWEEN))
        self._held = ""
        return "" if done else text

    def _before(self) -> tuple[str, Calls]:
        """Look for the beginning of a call."""
        if not self._begin:  # a call is the whole answer, or follows another one
            start = self._held.lstrip(_BETWEEN if self.found else None)
            if start:
                self._state = "inside" if start[0] in "[{" else "plain"
            return "", []
        until = UntilStop([self._begin])
        text = until.push(self._held)
        self._held = self._held[len(text) :]
        if until.stopped:
            self._held = self._held.removeprefix(self._begin)
            self._state = "inside"
        return "" if self.found and not text.strip() else text, []

    def _inside(self) -> tuple[str, Calls]:
        """Read the JSON of a call."""
        text = self._held.lstrip(_BETWEEN)
        if not text:
            return "", []
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            ended = bool(self._end) and self._end in text
            return ("", []) if text[0] in "[{" and not ended else self._as_text()
        calls = self._form.calls(value)
        if calls is None or not {name for name, _ in calls} <= self._names:
            return self._as_text()
        self._held, self._state = text[end:], "after"
        return "", calls

    def _after(self) -> tuple[str, Calls]:
        """Pass the end of a call."""
        rest = self._held.lstrip()
        if not rest.startswith(self._end) and self._end.startswith(rest):
            return "", []
        self._held, self._state = rest.removeprefix(self._end), "before"
        return "", []

    def _plain(self) -> tuple[str, Calls]:
        """Pass text on: no call can follow."""
        text, self._held = self._held, ""
        return text, []

    def _as_text(self) -> tuple[str, Calls]:
        """Return the marker as text; what follows it is looked through again."""
        self._state = "before" if self._begin else "plain"
        return self._begin, []
