"""A tiny random T5 with a byte tokenizer: tests encoder-decoders in seconds without downloads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Encoded, Model
from framework.build.model.bytelevel import byte_tokenizer
from framework.build.model.seq2seq import TEMPLATE, encode_answers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_END = "</s>"


class TinySeq2Seq(Model):
    """A randomly initialized T5 for tests; it can learn only simple tasks."""

    task: ClassVar[str] = "seq2seq"
    losses: ClassVar[tuple[LossOn, ...]] = ("answers", "last_answer")

    layers: Annotated[int, Field(ge=1)] = 2
    """Layers of the encoder and of the decoder, each."""
    hidden_size: Annotated[int, Field(ge=32, multiple_of=32)] = 64
    """Hidden size; the head size is 32."""

    @property
    def origin(self) -> str:
        """Return ``random``: nothing is downloaded."""
        return "random"

    def materialize(self, output: Path, seed: int) -> None:
        """Write the model; *seed* initializes its weights."""
        import torch
        from transformers import T5Config, T5ForConditionalGeneration

        tokenizer = byte_tokenizer(_END, eos_token=_END, chat_template=TEMPLATE)
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=self.hidden_size,
            d_kv=32,
            d_ff=self.hidden_size * 2,
            num_layers=self.layers,
            num_heads=self.hidden_size // 32,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = T5ForConditionalGeneration(config)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return the token ids of prompts and answers; see ``encode_answers``."""
        return [*encode_answers(tokenizer, row, loss_on)]
