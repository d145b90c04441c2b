"""Encoder-decoder models such as T5 and BART, which generate a text from another."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Encoded, Model
from framework.build.model.chat import end_tokens, frozen
from framework.build.model.conversation import render
from framework.build.model.row_keys import refuse_unread
from framework.build.model.template_checks import refuse_lost_turns
from framework.core.error_text import first_line
from framework.core.errors import DataError, StepError
from framework.core.silence_libraries import quiet
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE = (
    "{{ bos_token if bos_token is defined else '' }}{% for message in messages %}"
    "{{ message['content'] }}{% if not loop.last %}\n{% endif %}{% endfor %}{{ eos_token }}"
)
"""The chat template for models without one: the turns, one per line, between the special tokens."""


class Seq2Seq(Model):
    """An encoder-decoder with a language modeling head, from any source that transformers opens."""

    task: ClassVar[str] = "seq2seq"
    losses: ClassVar[tuple[LossOn, ...]] = ("answers", "last_answer")

    source: Source
    """A Hugging Face folder."""

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialize(self, output: Path, seed: int) -> None:
        """Write the model in float32 with its tokenizer; add a plain chat template if it has none."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        path = self.source.fetch()
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(path)
                model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32)
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
            raise StepError(
                f"model.source: transformers cannot open {self.source.url}: {first_line(error)}"
            ) from error
        if tokenizer.chat_template is None:
            tokenizer.chat_template = TEMPLATE
        if tokenizer.eos_token_id is None:
            raise StepError(
                f"model.source: the tokenizer of {self.source.url} has no end-of-sequence token, so "
                "generation would not stop; set eos_token in its tokenizer_config.json"
            )
        tokenizer.chat_template = frozen(tokenizer.chat_template)
        configured = model.generation_config.eos_token_id
        model.generation_config.eos_token_id = end_tokens([tokenizer.eos_token_id], configured)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return the token ids of prompts and answers; see ``encode_answers``."""
        return [*encode_answers(tokenizer, row, loss_on)]


def encode_answers(
    tokenizer: Any, row: Row, loss_on: LossOn = "answers"
) -> list[tuple[list[int], list[int]]]:
    """Return, for each answer, the ids of its prompt, rendered as when serving, and its own with its end.

    Args:
        tokenizer: has the chat template.
        row: a conversation.
        loss_on: every answer of the assistant, or only the last.

    Raises:
        DataError: the row has no prompt and answer, or what a decoder does not learn, such as tools and
            preferences; or the template ignores a turn.
    """
    messages: Any = row.get("messages", ())
    learned = [index for index, turn in enumerate(messages) if _is_learned(index, turn)]
    if not learned:
        raise DataError("an encoder-decoder needs a prompt and its answer, such as 'messages' with two turns")
    refuse_unread(row, "messages")
    for key in ("tool_calls", "reasoning_content"):
        if any(turn.get(key) for turn in messages):
            raise DataError(f"an encoder-decoder does not learn '{key}'; write it in 'content'")
    end, pairs = int(tokenizer.eos_token_id), []
    for index in learned[-1:] if loss_on == "last_answer" else learned:
        ids = render(tokenizer, messages[:index], None, prompt=True)
        refuse_lost_turns(tokenizer, messages[:index], None)
        labels = [int(token) for token in tokenizer(text_target=messages[index]["content"])["input_ids"]]
        pairs.append((ids, labels if labels[-1:] == [end] else [*labels, end]))
    return pairs


def _is_learned(index: int, turn: Any) -> bool:
    return index > 0 and turn["role"] == "assistant" and bool(turn.get("train", True))
