"""Convert between text and token ids: tokenizer, chat template, streamed text, stop sequences.

The tokenizer is transformers' own, so ids equal those of training. It knows neither engine nor server.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.build.model.conversation import render
from framework.core.error_text import first_line
from framework.core.errors import DataError, ServeError

CUT = "\N{REPLACEMENT CHARACTER}"
"""The result of decoding an incomplete UTF-8 sequence."""


def open_tokenizer(folder: Path) -> Any:
    """Open the folder's tokenizer.

    ``tokenizer.json`` is a complete tokenizer. Reading it directly avoids ``AutoTokenizer``, which imports
    torch: two seconds and 200 MB.

    Raises:
        ServeError: the folder has none, or it is broken.
    """
    if (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast as kind
    else:
        from transformers import AutoTokenizer as kind
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ServeError(f"{folder}: its tokenizer cannot be opened: {first_line(error)}") from error


def prompt_ids(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
) -> list[int]:
    """Return the ids of a conversation up to the start of the answer: those that training has before it.

    Args:
        tokenizer: has the chat template.
        messages: the turns.
        tools: definitions of tools, for templates that write them.

    Raises:
        ValueError: the chat template rejects the conversation.
    """
    try:
        return render(tokenizer, messages, list(tools) if tools else None, prompt=True)
    except DataError as error:
        raise ValueError(str(error)) from None


class StreamedText:
    """The text of an answer, token by token; the joined pieces equal all tokens decoded at once."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # The ids of the last piece: decoding the next one needs them for spaces.
        self._begin = self._end = 0

    def push(self, token: int) -> str:
        """Return the text that *token* adds; a character of several bytes comes with its last byte."""
        self._ids.append(token)
        before, text = self._texts()
        if text.endswith(CUT):
            return ""
        self._begin, self._end = self._end, len(self._ids)
        return text[len(before) :]

    def finish(self) -> str:
        """Return the text that was held back."""
        before, text = self._texts()
        self._begin = self._end = len(self._ids)
        return text[len(before) :]

    def _texts(self) -> tuple[str, str]:
        return self._decode(self._ids[self._begin : self._end]), self._decode(self._ids[self._begin :])


class UntilStop:
    """Passes text on up to the first stop sequence, without it.

    Text that may begin a stop sequence is held back until that is decided.

    >>> until = UntilStop(["two"])
    >>> until.push("one t"), until.push("wo"), until.push(" three"), until.stopped
    ('one ', '', '', True)
    >>> until = UntilStop(["two"])
    >>> until.push("one t") + until.push("w") + until.push("ist") + until.finish()
    'one twist'
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False
        """Whether a stop sequence occurred."""

    def push(self, piece: str) -> str:
        """Return the text that can be sent now that *piece* is known."""
        if self.stopped:
            return ""
        held = self._held + piece
        positions = [position for position in (held.find(stop) for stop in self._stops) if position >= 0]
        if positions:
            self.stopped, self._held = True, ""
            return held[: min(positions)]
        keep = max((_overlap(held, stop) for stop in self._stops), default=0)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def finish(self) -> str:
        """Return the text that was held back."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many last characters of *text* begin *stop*.

    >>> _overlap("one tw", "two"), _overlap("one", "two")
    (2, 0)
    """
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
