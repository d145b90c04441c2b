"""Convert a row to token ids and labels for a causal language model.

A conversation is rendered with the tokenizer's chat template. Only the assistant's turns, including tool
calls and the end-of-turn token, carry a loss; tool results do not. Every token of a document carries a loss.
"""

from typing import TYPE_CHECKING, Any

from framework.build.data.row_formats import Row
from framework.build.task import LABEL_MASK
from framework.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_row(tokenizer: "PreTrainedTokenizerBase", row: Row) -> tuple[list[int], ...]:
    """Return token ids and labels of equal length; a label is the token itself or ``LABEL_MASK``.

    A preference row has both twice: for the chosen and for the rejected answer.

    Raises:
        DataError: the row has no assistant turn, or the answer cannot be located in the rendered text.
    """
    if "messages" in row:
        messages, tools = row["messages"], row.get("tools")
        if "rejected" not in row:
            return _encode_conversation(tokenizer, messages, tools)
        worse = [*messages[:-1], {"role": "assistant", "content": row["rejected"]}]
        chosen, rejected = (_encode_conversation(tokenizer, turns, tools) for turns in (messages, worse))
        return *chosen, *rejected
    if "label" in row:
        raise DataError("a row with 'text' and 'label' requires a model option for classification")
    ids, end = _ids(tokenizer(row["text"])), int(tokenizer.eos_token_id)
    ids = ids if ids[-1:] == [end] else [*ids, end]
    return ids, list(ids)


def _encode_conversation(tokenizer: Any, messages: Any, tools: Any) -> tuple[list[int], list[int]]:
    if messages[0]["role"] == "assistant":
        raise DataError("the first turn is the assistant's, which has no prompt")
    ids = render(tokenizer, messages, tools, prompt=False)
    if tools and ids == render(tokenizer, messages, None, prompt=False):
        raise DataError("the model's chat template ignores 'tools'; describe them in the system turn")
    labels = [LABEL_MASK] * len(ids)
    # The end of a turn may not be the tokenizer's end of sequence: Gemma and Phi have a separate token.
    ends = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = render(tokenizer, messages[:index], tools, prompt=True)
        through = render(tokenizer, messages[: index + 1], tools, prompt=False)
        if ids[: len(prompt)] != prompt or ids[: len(through)] != through:
            raise DataError("the chat template changes earlier turns, so the answer cannot be located")
        start, end = len(prompt), len(through)
        # Templates add white space after the end-of-turn token, which no model should generate.
        stop = max((i for i in range(start, end) if ids[i] in ends), default=end - 1)
        labels[start : stop + 1] = ids[start : stop + 1]
        _refuse_lost_calls(message, tokenizer.decode(ids[start : stop + 1]))
    if all(label == LABEL_MASK for label in labels):
        raise DataError("the conversation has no assistant turn to learn from")
    return ids, labels


def _refuse_lost_calls(message: Any, text: str) -> None:
    """Raise a DataError if the template dropped a tool call, which would train an empty answer."""
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            raise DataError(
                "the model's chat template ignores 'tool_calls'; write the calls in 'content', or choose a "
                "model whose template supports tools"
            )


def render(tokenizer: Any, messages: Any, tools: Any, prompt: bool) -> list[int]:
    """Return the token ids of *messages* in the model's chat template.

    Args:
        tokenizer: has the chat template.
        messages: the turns.
        tools: definitions of tools, or None.
        prompt: whether to append the start of an answer.

    Raises:
        DataError: the template rejects the conversation.
    """
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            messages,
            tools=tools,
            add_generation_prompt=prompt,
            tokenize=True,
            return_dict=True,
            # Some templates insert today's date, which would change the token ids every day.
            date_string="01 Jan 2025",
        )
    except TemplateError as error:  # it may not support system turns, or require alternating roles
        raise DataError(f"the model's chat template rejects the conversation: {error}") from None
    return _ids(encoded)


def _ids(encoded: Any) -> list[int]:
    return [int(token) for token in encoded["input_ids"]]
