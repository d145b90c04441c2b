"""Render a conversation with the model's chat template, and tokenize it: alike for training and serving.

It knows templates and tokenizers; neither rows and labels nor requests.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Self

from framework.core.error_text import first_line
from framework.core.errors import DataError

TODAY = datetime(2025, 1, 1)
"""What a chat template takes for today. Rows, evaluation and server need one value, and rows may not change
from day to day; the shipped template contains it."""
_DATE_CODES = ("%Y", "%y", "%m", "%-m", "%B", "%b", "%d", "%-d", "%e", "%A", "%a", "%j", "%F", "%D", "%x")
_CODES = (*_DATE_CODES, "%H", "%-H", "%I", "%-I", "%M", "%S", "%f", "%p", "%T", "%X", "%c")
_CLOCK = "strftime_now"
_PROBE = "probe"


def without_clock(template: str) -> str:
    """Return *template*, with ``strftime_now`` defined in it as a macro that formats ``TODAY``.

    A template that does not call it is returned as it is, and so is one that defines it.
    """
    if not re.search(rf"\b{_CLOCK}\b", template) or f"macro {_CLOCK}(" in template:
        return template
    replaced = "".join(f" | replace('{code}', '{TODAY.strftime(code)}')" for code in _CODES)
    return f"{{%- macro {_CLOCK}(format) -%}}{{{{ format{replaced} }}}}{{%- endmacro -%}}{template}"


def frozen(templates: Any) -> Any:
    """Return a tokenizer's chat template, or all of its templates by name, ``without_clock``."""
    if isinstance(templates, dict):
        return {name: without_clock(template) for name, template in templates.items()}
    return without_clock(templates)


def render_text(tokenizer: Any, messages: Sequence[Any], tools: Any, prompt: bool) -> str:
    """Return *messages* in the model's chat template, as text.

    Args:
        tokenizer: has the chat template.
        messages: the turns; ``train``, a key of our own rows, is left out.
        tools: definitions of tools, or None.
        prompt: whether to append the start of an answer.

    Raises:
        DataError: the template rejects the conversation.
    """
    from jinja2 import TemplateError

    turns = [{key: value for key, value in turn.items() if key != "train"} for turn in messages]
    try:
        template = without_clock(tokenizer.get_chat_template(None, tools))
        return str(
            tokenizer.apply_chat_template(
                turns, tools=tools, chat_template=template, add_generation_prompt=prompt, tokenize=False
            )
        )
    # It may not support system turns, require alternating roles, or add text to a missing value.
    except (TemplateError, TypeError, ValueError) as error:
        raise DataError(f"the model's chat template rejects the conversation: {first_line(error)}") from None


def tokenize(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of rendered *text*; the template has written the special tokens already."""
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


@dataclass(frozen=True)
class Tokens:
    """A rendered text as tokens, each with its place in the text."""

    tokenizer: Any
    ids: list[int]
    starts: list[int]
    """The first character of each token."""
    stops: list[int]
    """The character after each token."""

    @classmethod
    def of(cls, tokenizer: Any, text: str) -> Self | None:
        """Tokenize *text*; None if the tokenizer, one in Python, does not tell places."""
        if not tokenizer.is_fast:
            return None
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        places = encoded["offset_mapping"]
        return cls(tokenizer, list(encoded["input_ids"]), [s for s, _ in places], [e for _, e in places])

    def before(self, character: int) -> int:
        """Return how many tokens begin before *character*."""
        return bisect_left(self.starts, character)

    def shared_with(self, prompt: str) -> int | None:
        """Return how many tokens the text shares with *prompt*, with which it begins.

        None if *prompt* alone has other tokens: one would cross its end, or merge otherwise before it. Text
        is tokenized on its own after each special token, so only the prompt's last piece is compared.
        """
        count = self.before(len(prompt))
        if count and self.stops[count - 1] > len(prompt):
            return None
        special = special_tokens(self.tokenizer).values()
        first = next((index for index in reversed(range(count)) if self.ids[index] in special), 0)
        tail = tokenize(self.tokenizer, prompt[self.starts[first] :]) if count else []
        return count if tail == self.ids[first:count] else None


@lru_cache(maxsize=4)
def special_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the special tokens of *tokenizer* with their ids."""
    added = tokenizer.added_tokens_decoder.items()
    special = {token.content: int(number) for number, token in added if token.special}
    return {**special, **({tokenizer.eos_token: int(tokenizer.eos_token_id)} if tokenizer.eos_token else {})}


def end_token(tokenizer: Any, answer: str) -> int | None:
    """Return the special token that ends *answer*, after which only white space follows; None without one.

    It need not be the tokenizer's end of sequence: Gemma and Phi have a separate token for a turn's end.
    """
    special, written = special_tokens(tokenizer), answer.rstrip()
    if not written.endswith(tuple(special)):
        return None
    return max((len(text), number) for text, number in special.items() if written.endswith(text))[1]


def turn_ends(tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer in the tokenizer's chat template; none where it writes none.

    Two answers are tried, one in words and one that calls a tool, which Llama 3.1 ends otherwise.
    """
    call = {"type": "function", "function": {"name": _PROBE, "arguments": {}}}
    ends = []
    for answer in ({"content": _PROBE}, {"content": "", "tool_calls": [call]}):
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", **answer}]
        try:
            text = render_text(tokenizer, turns, None, prompt=False)
        except DataError:  # then no row of that kind can be rendered, either
            continue
        end = end_token(tokenizer, text)
        if end is not None and _PROBE in text:
            ends.append(end)
    return list(dict.fromkeys(ends))


def end_tokens(own: Sequence[int], configured: int | list[int] | None) -> int | list[int]:
    """Return every token that ends an answer, as generation_config.json has them: *own*, then *configured*.

    Llama 3 has three. Gemma's end of a turn is not the tokenizer's end of sequence.

    >>> end_tokens([9], [1, 8, 9]), end_tokens([2, 2], 2), end_tokens([2, 3], None)
    ([9, 1, 8], 2, [2, 3])
    """
    others = configured if isinstance(configured, list) else [configured]
    ends = list(dict.fromkeys([*own, *(end for end in others if end is not None)]))
    return ends if len(ends) > 1 else ends[0]
