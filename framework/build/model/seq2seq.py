"""Encoder-decoder models such as T5 and BART, which generate a text from another."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.data.row_formats import Row
from framework.build.model import Encoded, Model
from framework.build.model.conversation import render
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
            first_line = str(error).partition("\n")[0]
            raise StepError(
                f"model.source: transformers cannot open {self.source.url}: {first_line}"
            ) from error
        if tokenizer.chat_template is None:
            tokenizer.chat_template = TEMPLATE
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Return the token ids of prompt and answer; see ``encode_answer``."""
        return encode_answer(tokenizer, row)


def encode_answer(tokenizer: Any, row: Row) -> tuple[list[int], list[int]]:
    """Return the token ids of the prompt, rendered as when serving, and of the answer with its end token.

    Raises:
        DataError: the row has no prompt and answer.
    """
    if "messages" not in row or len(row["messages"]) < 2:
        raise DataError("an encoder-decoder needs a prompt and its answer, such as 'messages' with two turns")
    *prompt, answer = row["messages"]
    ids = render(tokenizer, prompt, None, prompt=True)
    labels = [int(token) for token in tokenizer(text_target=answer["content"])["input_ids"]]
    end = int(tokenizer.eos_token_id)
    return ids, labels if labels[-1:] == [end] else [*labels, end]
