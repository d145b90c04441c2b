"""A tiny random Llama with a byte tokenizer: runs a whole plan in seconds without downloads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Encoded, Model
from framework.build.model.bytelevel import byte_tokenizer
from framework.build.model.conversation import encode_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_END, _START = "<|im_end|>", "<|im_start|>"


class TinyCausalLM(Model):
    """A randomly initialized Llama for tests; it can learn only simple tasks."""

    task: ClassVar[str] = "causal-lm"
    losses: ClassVar[tuple[LossOn, ...]] = ("answers", "last_answer", "all")

    layers: Annotated[int, Field(ge=1)] = 2
    """Decoder layers."""
    hidden_size: Annotated[int, Field(ge=64, multiple_of=64)] = 64
    """Hidden size; the head size is 32, since onnxruntime-genai's model builder requires a multiple of 16 for
    rotary caches."""
    context: Annotated[int, Field(ge=16)] = 512
    """Context length in tokens."""

    @property
    def origin(self) -> str:
        """Return ``random``: nothing is downloaded."""
        return "random"

    def materialize(self, output: Path, seed: int) -> None:
        """Write the model; *seed* initializes its weights."""
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        tokenizer = byte_tokenizer(_START, _END, eos_token=_END, chat_template=_TEMPLATE)
        heads = self.hidden_size // 32
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=self.hidden_size * 2,
            num_hidden_layers=self.layers,
            num_attention_heads=heads,
            num_key_value_heads=max(1, heads // 2),
            max_position_embeddings=self.context,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return token ids and labels of equal length; see ``encode_rows``."""
        return [*encode_rows(tokenizer, row, loss_on)]
