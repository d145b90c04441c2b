"""Token classification: find named entities in a text."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Classes, Encoded, Model
from framework.build.model.label_encoding import ClassNames, encode_tags, write_encoder
from framework.build.task.bioes import tag_names
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenClassification(Model):
    """An encoder with a token classification head, from any source that transformers opens."""

    task: ClassVar[str] = "token-classification"

    source: Source
    """A Hugging Face folder with an encoder. Its own head is kept if the number of tags matches."""
    entities: ClassNames = ()
    """The entity types. The model's outputs are O and B-, I-, E-, S- of each type, in this order. Rows may
    have BIO or BIOES tags."""

    @property
    def classes(self) -> Classes:
        """Return ``entities``."""
        return Classes("entities", self.entities, 1)

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialize(self, output: Path, seed: int) -> None:
        """Write the encoder in float32; *seed* initializes the head."""
        names = tag_names(self.entities)
        write_encoder(self.source, "AutoModelForTokenClassification", names, output, seed)

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return the words' token ids, and a tag at the first token of each word."""
        return [encode_tags(tokenizer, row, self.entities)]
