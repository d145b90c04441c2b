"""Causal language models: tokens in, the next token out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from framework.build.data.row_formats import Row
from framework.build.model import Encoded, Model
from framework.build.model.conversation import encode_row
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class CausalLM(Model):
    """A decoder with a language-model head, from any source that transformers opens."""

    task: ClassVar[str] = "causal-lm"

    source: Source
    """A Hugging Face folder, or one GGUF file."""

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialise(self, output: Path, seed: int) -> None:
        """Write the model in float32 as safetensors with its tokenizer.

        A GGUF file is dequantised. transformers refuses to save such a model, so its weights move
        into a new one, built from the same config without the quantisation (difference 0).
        """
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        path = self.source.fetch()
        where, options = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
        try:
            with quiet():
                tokenizer = AutoTokenizer.from_pretrained(where, **options)
                model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **options)
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
            raise StepError(f"{self.source.url}: transformers cannot open it: {first_line(error)}") from error
        if getattr(model.config, "quantization_config", None) is not None:
            model = _without_quantisation(model)
        if tokenizer.chat_template is None:
            raise StepError(
                f"{self.source.url}: the tokenizer has no chat template; choose an instruction-tuned model"
            )
        if tokenizer.eos_token_id is None:
            raise StepError(
                f"{self.source.url}: the tokenizer names no end-of-sequence token, so no answer would end; "
                "name one as eos_token in its tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        known = model.generation_config.eos_token_id
        model.generation_config.eos_token_id = _ends(tokenizer.eos_token_id, known)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Return token ids and labels of equal length; see ``framework.build.model.conversation``."""
        return encode_row(tokenizer, row)


def _ends(turn: int, known: int | list[int] | None) -> int | list[int]:
    """Return every token that ends an answer: the tokenizer's, and those that the checkpoint names besides.

    Llama 3 has three, and Gemma's turns end with one that is not the tokenizer's.

    >>> _ends(9, [1, 8, 9]), _ends(2, 2), _ends(2, None)
    ([9, 1, 8], 2, 2)
    """
    others = known if isinstance(known, list) else [known]
    ends = list(dict.fromkeys([turn, *(end for end in others if end is not None)]))
    return ends if len(ends) > 1 else turn


def _without_quantisation(model: Any) -> Any:
    config = type(model.config).from_dict(
        {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
    )
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain
