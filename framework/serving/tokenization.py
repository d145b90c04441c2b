"""Convert between text and token ids: tokenizer, chat template, streamed text, stop sequences.

The tokenizer is transformers' own, so ids equal those of training. It knows neither engine nor server.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
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


def streamed_text(tokens: Iterable[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """Yield the text of *tokens* in pieces; joined, they equal the text of all tokens decoded at once.

    A piece can be empty: a character of several bytes is held back until its last byte arrives.
    """
    ids: list[int] = []
    begin = end = 0  # ids of the last piece yielded: decoding the next one needs them for spaces
    for token in tokens:
        ids.append(token)
        yielded, text = decode(ids[begin:end]), decode(ids[begin:])
        if text.endswith(CUT):
            yield ""
            continue
        yield text[len(yielded) :]
        begin, end = end, len(ids)
    if end < len(ids):
        yield decode(ids[begin:])[len(decode(ids[begin:end])) :]


def until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Generator[str, None, bool]:
    """Yield *pieces* up to the first stop sequence, without it; return whether one occurred.

    Text that may begin a stop sequence is held back until that is decided.

    >>> list(until_stop(["one t", "wo", " three"], ["two"]))
    ['one ', '']
    >>> "".join(until_stop(["one t", "w", "ist"], ["two"]))
    'one twist'
    """
    held = ""
    for piece in pieces:
        held += piece
        positions = [position for position in (held.find(stop) for stop in stops) if position >= 0]
        if positions:
            yield held[: min(positions)]
            return True
        keep = max((_overlap(held, stop) for stop in stops), default=0)
        yield held[: len(held) - keep]
        held = held[len(held) - keep :]
    if held:
        yield held
    return False


def _overlap(text: str, stop: str) -> int:
    """Return how many last characters of *text* begin *stop*.

    >>> _overlap("one tw", "two"), _overlap("one", "two")
    (2, 0)
    """
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
