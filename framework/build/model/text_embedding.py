"""Text embedding: a vector for each text, to search and to compare with."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.engine.model_folder import read_json
from framework.build.model import Encoded, Model
from framework.build.model.label_encoding import write_encoder
from framework.build.model.retrieval_encoding import encode_texts
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextEmbedding(Model):
    """An encoder whose vectors are the mean over a text's tokens, of length 1.

    So the product of two vectors is their cosine. Models that were made for another kind of pooling, such as
    the first token's, can be tuned for this one, but start worse.
    """

    task: ClassVar[str] = "text-embedding"

    source: Source
    """A Hugging Face folder with an encoder, such as one of sentence-transformers; a head is left out."""

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialize(self, output: Path, seed: int) -> None:
        """Write the encoder in float32; *seed* initializes what the source lacks, which no vector uses."""
        write_encoder(self.source, "AutoModel", None, output, seed)
        pooling = read_json(self.source.fetch() / "1_Pooling", "config.json")
        if pooling and not pooling.get("pooling_mode_mean_tokens"):
            print(
                f"  warning: {self.name} was made for another pooling than the mean over tokens, so that its "
                "vectors are worse until it is tuned",
                flush=True,
            )

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return the token ids of the row's texts, and the number of each token's text."""
        return [encode_texts(tokenizer, row)]
