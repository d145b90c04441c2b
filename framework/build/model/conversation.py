"""Convert a row to token ids and labels for a causal language model.

A conversation is rendered with the tokenizer's chat template. The assistant's turns, with their tool calls
and the token that ends them, carry a loss; tool results do not. Every token of a document carries a loss.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model.chat import Tokens, end_token, render_text, tokenize
from framework.build.model.row_keys import refuse_unread
from framework.build.model.template_checks import LOST_CALLS, refuse_lost_turns
from framework.build.task import LABEL_MASK
from framework.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Labeled = tuple[list[int], ...]
"""Token ids and labels of equal length; a label is the token itself or ``LABEL_MASK``."""
_PROBE = "probe"
_THINK, _THOUGHT = "<think>", "</think>"


def encode_row(tokenizer: "PreTrainedTokenizerBase", row: Row) -> Labeled:
    """Return the token ids and labels of *row*; of several, those that end with its last answer."""
    return encode_rows(tokenizer, row)[-1]


def encode_rows(tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers") -> list[Labeled]:
    """Return the token ids and labels of *row*; of a preference, the chosen answer's and the rejected one's.

    An answer with a label, ``desirable``, has a third part: ``[1]`` for a good one, ``[0]`` for a bad one.
    As in a preference, only that answer has a loss.

    A conversation is one row if the prompt of each answer is in it as a server would send it. Otherwise each
    answer becomes a row of its own, as it would be asked: where the template rewrites earlier turns, writes
    no end token after an answer, or merges the end of a prompt with the answer.

    Args:
        tokenizer: has the chat template.
        row: a conversation or a document.
        loss_on: see ``Data.loss_on``.

    Raises:
        DataError: the row has no answer to learn or keys of another task, or the template rejects or ignores
            a part of it.
    """
    refuse_unread(row, "messages", "tools", "rejected", "desirable", "text")
    if "messages" in row:
        if "rejected" in row:
            return [_encode_pair(tokenizer, row, loss_on)]
        chat = _Chat(tokenizer, row["messages"], row.get("tools"))
        chat.refuse_lost_tools()
        if "desirable" in row:
            if loss_on == "all":
                raise DataError("the label is about one answer; set data.loss_on=answers")
            return [(*chat.alone(len(chat.messages) - 1), [int(row["desirable"])])]
        return [chat.whole()] if loss_on == "all" else chat.answers(loss_on)
    ids = [int(token) for token in tokenizer(row["text"])["input_ids"]]
    end = int(tokenizer.eos_token_id)
    ids = ids if ids[-1:] == [end] else [*ids, end]
    return [(ids, list(ids))]


def render(tokenizer: Any, messages: Any, tools: Any, prompt: bool) -> list[int]:
    """Return the token ids of *messages* in the model's chat template; see ``render_text``."""
    return tokenize(tokenizer, render_text(tokenizer, messages, tools, prompt))


def _encode_pair(tokenizer: Any, row: Row, loss_on: LossOn) -> Labeled:
    """Return ids and labels of the chosen answer, then of the rejected one; earlier turns have no loss."""
    if loss_on == "all":
        raise DataError("a preference compares two answers; set data.loss_on=answers")
    messages = row["messages"]
    worse = [*messages[:-1], {"role": "assistant", "content": row["rejected"]}]
    parts: list[list[int]] = []
    for turns in (messages, worse):
        chat = _Chat(tokenizer, turns, row.get("tools"))
        chat.refuse_lost_tools()
        parts += chat.alone(len(turns) - 1)
    return tuple(parts)


@dataclass(frozen=True)
class _Chat:
    """A conversation, with the tokenizer that renders it."""

    tokenizer: Any
    messages: Any
    tools: Any

    @cached_property
    def _texts(self) -> dict[tuple[int, bool], str]:
        return {}

    def text(self, count: int, prompt: bool = False) -> str:
        """Return the first *count* turns in the template; *prompt* appends the start of an answer."""
        key = (count, prompt)
        if key not in self._texts:
            self._texts[key] = render_text(self.tokenizer, self.messages[:count], self.tools, prompt)
        return self._texts[key]

    def refuse_lost_tools(self) -> None:
        """Raise a DataError if the template ignores the definitions of tools."""
        if self.tools and self.text(len(self.messages)) == render_text(
            self.tokenizer, self.messages, None, prompt=False
        ):
            raise DataError("the model's chat template ignores 'tools'; describe them in the system turn")

    def answers(self, loss_on: LossOn) -> list[Labeled]:
        """Return the rows that teach the answers: one for the conversation, or one for each answer.

        Raises:
            DataError: there is no answer, or the template rejects or ignores a part of it.
        """
        # A greeting before the first turn of a user has no prompt: it is context.
        turns = list(enumerate(self.messages))[1:]
        learned = [at for at, turn in turns if turn["role"] == "assistant" and turn.get("train", True)]
        learned = learned[-1:] if loss_on == "last_answer" else learned
        if not learned:
            raise DataError("the conversation has no assistant turn with a prompt to learn from")
        together = self._together(learned) if len(learned) > 1 else None
        return [together] if together else [self.alone(index) for index in learned]

    def whole(self) -> Labeled:
        """Return the conversation with a loss on every token up to the last answer's end.

        Raises:
            DataError: a turn must not be learned, or the template rejects or ignores a part.
        """
        if not all(turn.get("train", True) for turn in self.messages):
            raise DataError(
                "an assistant's turn is not learned, because it is in 'prompt' or has 'train': false or "
                "'weight': 0, but data.loss_on=all learns every turn; set data.loss_on=answers"
            )
        text = self.text(len(self.messages))
        self._refuse_lost_before(len(self.messages))
        for index, turn in enumerate(self.messages):
            through = self.text(index + 1) if turn.get("reasoning_content") else text
            _refuse_lost(turn, through)
            if (turn.get("reasoning_content") or "").strip() not in text:
                raise DataError(
                    "the model's chat template leaves 'reasoning_content' out of earlier turns, so "
                    "data.loss_on=all cannot learn it; set data.loss_on=answers"
                )
        if end_token(self.tokenizer, text) is None:
            text = _without_added_space(text, self.messages[-1].get("content") or "")
        return self._labeled([], text, tokenize(self.tokenizer, text))

    def _together(self, learned: list[int]) -> Labeled | None:
        """Return one row with every answer of *learned*; None if a prompt in it differs from a server's."""
        text = self.text(learned[-1] + 1)
        self._refuse_lost_before(learned[-1])
        tokens = Tokens.of(self.tokenizer, text)
        if tokens is None:
            return None
        labels = [LABEL_MASK] * len(tokens.ids)
        for index in learned:
            prompt, through = self.text(index, prompt=True), self.text(index + 1)
            if not (text.startswith(through) and through.startswith(prompt)):
                return None
            end = end_token(self.tokenizer, through[len(prompt) :])
            start = tokens.shared_with(prompt)
            if start is None or end is None:
                return None
            span = range(start, tokens.before(len(through)))
            stop = max((at for at in span if tokens.ids[at] == end), default=None)
            if stop is None:
                return None
            # Templates add white space after the end token, which no model should generate.
            labels[start : stop + 1] = tokens.ids[start : stop + 1]
            _refuse_lost(self.messages[index], through[len(prompt) :])
        return tokens.ids, labels

    def alone(self, index: int) -> Labeled:
        """Return a row with the answer of turn *index*, after the prompt as a server sends it.

        Raises:
            DataError: there is no prompt, or the template rejects or ignores a part.
        """
        prompt, answer = self.text(index, prompt=True), self._answer(index)
        self._refuse_lost_before(index)
        _refuse_lost(self.messages[index], answer)
        if end_token(self.tokenizer, answer) is None:
            answer = _without_added_space(answer, self.messages[index].get("content") or "")
        start = tokenize(self.tokenizer, prompt)
        ids = tokenize(self.tokenizer, prompt + answer)
        if ids[: len(start)] != start:  # a token would cross the boundary
            ids = start + tokenize(self.tokenizer, answer)
        return self._labeled(start, answer, ids)

    def _refuse_lost_before(self, index: int) -> None:
        """Raise a DataError if the template leaves out a turn before *index*, as the server does."""
        refuse_lost_turns(self.tokenizer, self.messages[:index], self.tools)

    def _labeled(self, start: list[int], answer: str, ids: list[int]) -> Labeled:
        """Return *ids* with labels after those of *start*, up to the token that ends *answer*.

        The tokenizer's end of sequence is appended where the template writes no end: the server stops there.
        """
        end = end_token(self.tokenizer, answer)
        if end is None or end not in ids[len(start) :]:
            ids = [*ids, end := int(self.tokenizer.eos_token_id)]
        stop = len(ids) - ids[::-1].index(end)
        return ids, [LABEL_MASK] * len(start) + ids[len(start) : stop] + [LABEL_MASK] * (len(ids) - stop)

    def _answer(self, index: int) -> str:
        """Return the text that should follow the prompt of turn *index*."""
        prompt, through = self.text(index, prompt=True), self.text(index + 1)
        if through.startswith(prompt):
            return through[len(prompt) :]
        # The template writes a finished turn otherwise than it begins one. What precedes the answer in it is
        # what precedes any other.
        other = [*self.messages[:index], {"role": "assistant", "content": _PROBE}]
        head = render_text(self.tokenizer, other, self.tools, prompt=False).rpartition(_PROBE)[0]
        if not through.startswith(head):
            raise DataError("the chat template changes earlier turns, so the answer cannot be located")
        answer = through[len(head) :]
        return _thought_first(self.messages[index], answer) if prompt.rstrip().endswith(_THINK) else answer


def _thought_first(message: Any, answer: str) -> str:
    """Return *answer* as it follows a prompt that begins to think, such as DeepSeek's: after the thought."""
    if answer.startswith(_THINK):
        return answer.removeprefix(_THINK).lstrip("\n")
    written = message.get("content") or ""
    thought = message.get("reasoning_content") or (
        written.partition(_THOUGHT)[0].removeprefix(_THINK) if _THOUGHT in written else ""
    )
    return "\n".join([*([thought.strip("\n")] if thought else []), _THOUGHT, "", answer.lstrip("\n")])


def _without_added_space(answer: str, content: str) -> str:
    r"""Return *answer* without the white space that the template adds to its end; the content's own remains.

    >>> _without_added_space("a\n\n", "a"), _without_added_space("a\n\n", "a\n")
    ('a', 'a\n')
    """
    written, own = answer.rstrip(), content[len(content.rstrip()) :]
    return written + own if answer.startswith(written + own) else written


def _refuse_lost(message: Any, text: str) -> None:
    """Raise a DataError if the template dropped a tool call or reasoning: the answer would be another."""
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            raise DataError(LOST_CALLS)
    if (message.get("reasoning_content") or "").strip() not in text:
        raise DataError(
            "the model's chat template ignores 'reasoning_content'; write it in 'content', or choose a model "
            "whose template supports reasoning"
        )
