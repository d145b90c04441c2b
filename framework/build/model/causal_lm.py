"""Causal language models from any source that transformers opens."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.data.row_formats import Row
from framework.build.model import Encoded, Model
from framework.build.model.conversation import encode_row
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class CausalLM(Model):
    """A decoder with a language modeling head, from any source that transformers opens."""

    task: ClassVar[str] = "causal-lm"

    source: Source
    """A Hugging Face folder, or one GGUF file."""

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialize(self, output: Path, seed: int) -> None:
        """Write the model in float32 with its tokenizer; a GGUF file is dequantized."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = self.source.fetch()
        folder, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(folder, **options)
                model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
            first_line = str(error).partition("\n")[0]
            raise StepError(
                f"model.source: transformers cannot open {self.source.url}: {first_line}"
            ) from error
        if getattr(model.config, "quantization_config", None) is not None:
            model = _without_quantization(model)
        if tokenizer.chat_template is None:
            raise StepError(
                f"model.source: the tokenizer of {self.source.url} has no chat template; choose an "
                "instruction-tuned model"
            )
        if tokenizer.eos_token_id is None:
            raise StepError(
                f"model.source: the tokenizer of {self.source.url} has no end-of-sequence token, so "
                "generation would not stop; set eos_token in its tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        configured = model.generation_config.eos_token_id
        model.generation_config.eos_token_id = _end_tokens(tokenizer.eos_token_id, configured)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Return token ids and labels of equal length; see ``framework.build.model.conversation``."""
        return encode_row(tokenizer, row)


def _end_tokens(tokenizer_end: int, configured: int | list[int] | None) -> int | list[int]:
    """Return every token that ends an answer: the tokenizer's, and those of the generation config.

    Llama 3 has three, and Gemma's end-of-turn token is not the tokenizer's.

    >>> _end_tokens(9, [1, 8, 9]), _end_tokens(2, 2), _end_tokens(2, None)
    ([9, 1, 8], 2, 2)
    """
    others = configured if isinstance(configured, list) else [configured]
    ends = list(dict.fromkeys([tokenizer_end, *(end for end in others if end is not None)]))
    return ends if len(ends) > 1 else tokenizer_end


def _without_quantization(model: Any) -> Any:
    """Return a new model with the same weights and no quantization config.

    transformers refuses to save a model that it dequantized.
    """
    config = type(model.config).from_dict(
        {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    )
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain
