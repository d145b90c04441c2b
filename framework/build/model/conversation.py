"""From a row to token ids and labels for a causal language model.

A conversation is rendered with the tokenizer's chat template; the loss is on the assistant's turns
only, calls of tools among them, each with the end-of-turn token that makes generation stop; what tools
answer is read, not learned. A document is learned whole.
"""

from typing import TYPE_CHECKING, Any

from framework.build.data.row_formats import Row
from framework.build.task import LABEL_MASK
from framework.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_row(tokenizer: "PreTrainedTokenizerBase", row: Row) -> tuple[list[int], ...]:
    """Return token ids and labels of equal length T; a label is the token itself or ``LABEL_MASK``.

    A preference's row has the same two once more, for the rejected answer.

    Raises:
        DataError: the row has nothing to learn from, or the template hides where the answer is.
    """
    if "messages" in row:
        messages, tools = row["messages"], row.get("tools")
        if "rejected" not in row:
            return _encode_conversation(tokenizer, messages, tools)
        other = [*messages[:-1], {"role": "assistant", "content": row["rejected"]}]
        chosen, rejected = (_encode_conversation(tokenizer, turns, tools) for turns in (messages, other))
        return *chosen, *rejected
    if "label" in row:
        raise DataError("a row of 'text' and 'label' needs a model option for classification")
    ids, end = _ids(tokenizer(row["text"])), int(tokenizer.eos_token_id)
    ids = ids if ids[-1:] == [end] else [*ids, end]
    return ids, list(ids)


def _encode_conversation(tokenizer: Any, messages: Any, tools: Any) -> tuple[list[int], list[int]]:
    if messages[0]["role"] == "assistant":
        raise DataError("the first turn is the assistant's, so there is nothing that it answers")
    ids = render(tokenizer, messages, tools, prompt=False)
    if tools and ids == render(tokenizer, messages, None, prompt=False):
        raise DataError("the model's chat template leaves 'tools' out; describe them in the system turn")
    labels = [LABEL_MASK] * len(ids)
    # The turn's end need not be the tokenizer's end of sequence: Gemma and Phi have a token of their own.
    ends = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = render(tokenizer, messages[:index], tools, prompt=True)
        through = render(tokenizer, messages[: index + 1], tools, prompt=False)
        if ids[: len(prompt)] != prompt or ids[: len(through)] != through:
            raise DataError("the chat template rewrites earlier turns, so the answer cannot be found")
        start, end = len(prompt), len(through)
        # Templates put white space after the end-of-turn token; nobody generates it.
        stop = max((i for i in range(start, end) if ids[i] in ends), default=end - 1)
        labels[start : stop + 1] = ids[start : stop + 1]
        _refuse_lost_calls(message, tokenizer.decode(ids[start : stop + 1]))
    if all(label == LABEL_MASK for label in labels):
        raise DataError("no assistant turn, so there is nothing to learn from")
    return ids, labels


def _refuse_lost_calls(message: Any, text: str) -> None:
    """Raise a DataError where the template left out a call: it would teach the model to say nothing."""
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            raise DataError(
                "the model's chat template leaves 'tool_calls' out; write the calls in 'content', or choose "
                "a model whose template knows tools"
            )


def render(tokenizer: Any, messages: Any, tools: Any, prompt: bool) -> list[int]:
    """Return the token ids of *messages* in the model's chat template; *prompt* begins an answer.

    Raises:
        DataError: the template refuses the conversation.
    """
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            messages,
            tools=tools,
            add_generation_prompt=prompt,
            tokenize=True,
            return_dict=True,
            # Some templates write today's date, which would make other rows of the same data tomorrow.
            date_string="01 Jan 2025",
        )
    except TemplateError as error:  # a template may know no system role, or want turns to alternate
        raise DataError(f"the model's chat template refuses this conversation: {error}") from None
    return _ids(encoded)


def _ids(encoded: Any) -> list[int]:
    return [int(token) for token in encoded["input_ids"]]
