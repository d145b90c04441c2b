"""Token classification: entities, that is spans of words with a name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.build.data.row_formats import Row
from framework.build.model import Encoded, Model
from framework.build.model.label_encoding import encode_tags, write_encoder
from framework.build.task.bioes import tag_names
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenClassification(Model):
    """An encoder with a fresh head that tags every word, from any source that transformers opens."""

    task: ClassVar[str] = "token-classification"

    source: Source
    """A Hugging Face folder of an encoder."""
    entities: Annotated[tuple[str, ...], Field(min_length=1)]
    """What spans may be. The model's outputs are O and B-, I-, E-, S- of each, in this order; rows may
    carry BIO or BIOES tags."""

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialize(self, output: Path, seed: int) -> None:
        """Write the encoder in float32 with a head drawn from *seed*."""
        names = tag_names(self.entities)
        write_encoder(self.source, "AutoModelForTokenClassification", names, output, seed)

    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Return the words' token ids, and a tag for the first token of each word."""
        return encode_tags(tokenizer, row, self.entities)
