"""A random ViLT with a byte tokenizer: text and image in one encoder, with nothing to download."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.build.data.row_formats import Row
from framework.build.model import Encoded, Model
from framework.build.model.bytelevel import PAD, byte_tokenizer
from framework.build.model.label_encoding import encode_class, label_config
from framework.build.model.picture import read_picture
from framework.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CLS, _SEP = "[CLS]", "[SEP]"


class TinyImageText(Model):
    """ViLT (Kim et al., 2021, arXiv:2102.03334) with random weights; it learns small tasks and nothing else.

    Words and patches of the image go through the same layers.
    """

    task: ClassVar[str] = "image-text-classification"

    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    """The classes."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Encoder layers."""
    hidden_size: Annotated[int, Field(ge=32, multiple_of=32)] = 64
    """Width of the residual stream; heads are 32 wide."""
    context: Annotated[int, Field(ge=16)] = 64
    """Longest text."""
    image_size: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Pixels on a side that images are resized to; a patch has eight."""

    @property
    def origin(self) -> str:
        """Say that nothing was downloaded."""
        return "random"

    def materialize(self, output: Path, seed: int) -> None:
        """Write the model with weights drawn from *seed*."""
        import torch
        from transformers import ViltConfig, ViltForQuestionAnswering

        tokenizer = byte_tokenizer(_CLS, _SEP, surround=True)
        config = ViltConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            intermediate_size=self.hidden_size * 2,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden_size // 32,
            max_position_embeddings=self.context,
            image_size=self.image_size,
            patch_size=8,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
            **label_config(self.labels),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = ViltForQuestionAnswering(config)
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Return the text's token ids, the index of its class, and the pixels of the row's own image."""
        if "image" not in row:
            raise DataError("classification of images needs 'image', a path, beside 'text' and 'label'")
        return *encode_class(tokenizer, row, self.labels), read_picture(row["image"], self.image_size)
