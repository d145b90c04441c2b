"""Encoder-decoder models: T5, BART and their kin; a text is read, another is written."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.data.row_formats import Row
from framework.build.model import Encoded, Model
from framework.build.model.conversation import render
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
"""The chat template of a model that has none: turn by turn what was said, between the encoder's tokens."""


class Seq2Seq(Model):
    """An encoder and a decoder with a language-model head, from any source that transformers opens."""

    task: ClassVar[str] = "seq2seq"

    source: Source
    """A Hugging Face folder."""

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialise(self, output: Path, seed: int) -> None:
        """Write the model in float32 with its tokenizer, which gets a plain chat template if it has none."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        path = self.source.fetch()
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(path)
                model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=torch.float32)
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
            raise StepError(f"{self.source.url}: transformers cannot open it: {first_line(error)}") from error
        if tokenizer.chat_template is None:
            tokenizer.chat_template = TEMPLATE
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Return what is read and what is written; see ``encode_answer``."""
        return encode_answer(tokenizer, row)


def encode_answer(tokenizer: Any, row: Row) -> tuple[list[int], list[int]]:
    """Return the ids of all turns but the last, as a server would read them, and of the last, with its end.

    Raises:
        DataError: the row is no conversation.
    """
    if "messages" not in row or len(row["messages"]) < 2:
        raise DataError(
            "a model with encoder and decoder needs a question and its answer, such as 'messages'"
        )
    *asked, answer = row["messages"]
    ids = render(tokenizer, asked, None, prompt=True)
    labels = [int(token) for token in tokenizer(text_target=answer["content"])["input_ids"]]
    end = int(tokenizer.eos_token_id)
    return ids, labels if labels[-1:] == [end] else [*labels, end]
