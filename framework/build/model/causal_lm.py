"""Causal language models from any source that transformers opens."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Encoded, Model
from framework.build.model.chat import end_tokens, frozen, turn_ends
from framework.build.model.chat_templates import TEMPLATES, named_template
from framework.build.model.conversation import encode_rows
from framework.build.model.template_checks import text_around_answers
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.problem import Problem
from framework.core.silence_libraries import quiet
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class CausalLM(Model):
    """A decoder with a language modeling head, from any source that transformers opens."""

    task: ClassVar[str] = "causal-lm"
    losses: ClassVar[tuple[LossOn, ...]] = ("answers", "last_answer", "all")

    source: Source
    """A Hugging Face folder, or one GGUF file."""
    chat_template: Literal["chatml", "alpaca"] | Source | None = None
    """The template that renders conversations, instead of the tokenizer's: a Jinja file, or the name of one.
    Base models have none. It is used for training, evaluation and serving, and ships with the model. Both
    named ones end an answer with the tokenizer's end of sequence."""

    def problems(self) -> list[Problem]:
        """Return that the tokenizer of a local folder has no chat template."""
        if self.chat_template is not None or not self.source.local:
            return []
        folder = self.source.fetch()
        return [] if folder.is_file() or _has_template(folder) else [self._without_template()]

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
            raise StepError(
                f"model.source: transformers cannot open {self.source.url}: {first_line(error)}"
            ) from error
        if getattr(model.config, "quantization_config", None) is not None:
            model = _without_quantization(model)
        self._prepare(tokenizer, model)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def _prepare(self, tokenizer: Any, model: Any) -> None:
        """Give the tokenizer its chat template, and the model every token at which its answers end.

        Raises:
            StepError: there is no chat template or no end of sequence, or the template writes text of its own
                around an answer.
        """
        if self.chat_template is not None:
            tokenizer.chat_template = self._template(tokenizer)
        if tokenizer.chat_template is None:
            raise StepError(str(self._without_template()))
        if tokenizer.eos_token_id is None:
            raise StepError(
                f"model.source: the tokenizer of {self.source.url} has no end-of-sequence token, so "
                "generation would not stop; set eos_token in its tokenizer_config.json"
            )
        tokenizer.chat_template = frozen(tokenizer.chat_template)
        if reason := text_around_answers(tokenizer):
            raise StepError(
                str(self._wrong_template(f"the chat template of {self.name}: {reason}", "fix it"))
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        configured = model.generation_config.eos_token_id
        own = [tokenizer.eos_token_id, *turn_ends(tokenizer)]
        model.generation_config.eos_token_id = end_tokens(own, configured)

    def _template(self, tokenizer: Any) -> str:
        """Return the text of ``chat_template``.

        Raises:
            SourceError: the file cannot be fetched.
            StepError: it is not text.
        """
        if isinstance(self.chat_template, str):
            return named_template(self.chat_template, tokenizer)
        file = cast(Source, self.chat_template).fetch()
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StepError(f"model.chat_template: {file}: cannot be read as text: {error}") from error

    def _without_template(self) -> Problem:
        reason = f"the tokenizer of {self.source.url} has no chat template"
        return self._wrong_template(reason, "choose an instruction-tuned model")

    def _wrong_template(self, reason: str, advice: str) -> Problem:
        overrides = tuple(f"model.chat_template={name}" for name in (*TEMPLATES, "<file>"))
        return Problem("model.chat_template", reason, overrides, advice)

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return token ids and labels of equal length; see ``encode_rows``."""
        return [*encode_rows(tokenizer, row, loss_on)]


def _has_template(folder: Path) -> bool:
    """Return whether the tokenizer in *folder* has a chat template, in any of the places for one."""
    files = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    if any((folder / name).exists() for name in files):
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # not known here: transformers says what is wrong with the folder
    return not isinstance(config, dict) or bool(config.get("chat_template"))


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
