"""A tiny random BERT with a byte tokenizer: tests encoders in seconds without downloads."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Classes, Encoded, Model
from framework.build.model.bytelevel import PAD, byte_tokenizer
from framework.build.model.label_encoding import (
    ClassNames,
    encode_class,
    encode_classes,
    encode_tags,
    label_config,
)
from framework.build.model.retrieval_encoding import encode_texts
from framework.build.task.bioes import tag_names

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CLS, _SEP = "[CLS]", "[SEP]"
_ENCODE = {"single-label": encode_class, "multi-label": encode_classes, "entities": encode_tags}
_TASKS = {
    "single-label": "sequence-classification",
    "multi-label": "multi-label-classification",
    "entities": "token-classification",
    "embedding": "text-embedding",
}
_CLASSES = {"entities": "BertForTokenClassification", "embedding": "BertModel"}


class TinyEncoder(Model):
    """A randomly initialized BERT for tests; it can learn only simple tasks."""

    problem: Literal["single-label", "multi-label", "entities", "embedding"] = "single-label"
    """One class per text, any number of classes, one tag per word, or a vector."""
    labels: ClassNames = ()
    """The classes, or the entities; a vector needs none."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Encoder layers."""
    hidden_size: Annotated[int, Field(ge=32, multiple_of=32)] = 64
    """Hidden size; the head size is 32."""
    context: Annotated[int, Field(ge=16)] = 256
    """Context length in tokens."""

    @property
    def task(self) -> str:
        """Return the task of ``problem``."""
        return _TASKS[self.problem]

    @property
    def classes(self) -> Classes | None:
        """Return ``labels``; None for vectors."""
        if self.problem == "embedding":
            return None
        return Classes("labels", self.labels, 2 if self.problem == "single-label" else 1)

    @property
    def origin(self) -> str:
        """Return ``random``: nothing is downloaded."""
        return "random"

    def materialize(self, output: Path, seed: int) -> None:
        """Write the model; *seed* initializes its weights."""
        import torch
        import transformers
        from transformers import BertConfig

        tokenizer = byte_tokenizer(_CLS, _SEP, surround=True)
        names = tag_names(self.labels) if self.problem == "entities" else self.labels
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=self.hidden_size * 2,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden_size // 32,
            max_position_embeddings=self.context,
            pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
            **({} if self.problem == "embedding" else label_config(names)),
        )
        if self.problem == "multi-label":
            config.problem_type = "multi_label_classification"
        class_name = _CLASSES.get(self.problem, "BertForSequenceClassification")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = getattr(transformers, class_name)(config)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return token ids and labels; see ``label_encoding`` and ``retrieval_encoding``."""
        if self.problem == "embedding":
            return [encode_texts(tokenizer, row)]
        return [_ENCODE[self.problem](tokenizer, row, self.labels)]
