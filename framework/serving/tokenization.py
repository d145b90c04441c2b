"""Between text and token ids: the folder's tokenizer and chat template, text that grows, stop texts.

Knows no engine and no server. The tokenizer is transformers' own, so ids equal those of training.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from framework.core.error_text import first_line
from framework.core.errors import ServeError

CUT = "\N{REPLACEMENT CHARACTER}"
"""What an unfinished UTF-8 sequence decodes to."""


def open_tokenizer(folder: Path) -> Any:
    """Open the folder's tokenizer.

    ``tokenizer.json`` holds a whole tokenizer; read directly it saves the two seconds and 200 MB of
    importing torch, which ``AutoTokenizer`` does.

    Raises:
        ServeError: the folder has none.
    """
    if (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast as kind
    else:
        from transformers import AutoTokenizer as kind
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ServeError(f"{folder}: its tokenizer cannot be opened: {first_line(error)}") from error


def prompt_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """Return the ids of a conversation up to where the answer begins.

    Raises:
        ValueError: the chat template refuses the conversation.
    """
    from jinja2 import TemplateError

    try:
        ids = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
    except TemplateError as error:
        raise ValueError(f"the model's chat template refuses these messages: {error}") from None
    return list(ids)


def growing_text(tokens: Iterable[int], decode: Callable[[list[int]], str]) -> Iterator[str]:
    """Yield the text of *tokens* piece by piece; joined, it is what decoding all of them gives.

    A piece may be empty: a character of several bytes is held back until its last byte is there.
    """
    ids: list[int] = []
    begin = given = 0  # the last piece given out gives the next one its context, such as a space
    for token in tokens:
        ids.append(token)
        known, text = decode(ids[begin:given]), decode(ids[begin:])
        if text.endswith(CUT):
            yield ""
            continue
        yield text[len(known) :]
        begin, given = given, len(ids)
    if given < len(ids):
        yield decode(ids[begin:])[len(decode(ids[begin:given])) :]


def until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Generator[str, None, bool]:
    """Yield *pieces* up to the first stop text, which is left out; return whether one was met.

    What may be the beginning of a stop text is held back until it is decided.

    >>> list(until_stop(["one t", "wo", " three"], ["two"]))
    ['one ', '']
    >>> "".join(until_stop(["one t", "w", "ist"], ["two"]))
    'one twist'
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [at for at in (held.find(stop) for stop in stops) if at >= 0]
        if found:
            yield held[: min(found)]
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
