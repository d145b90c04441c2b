"""A tiny random ViLT with a byte tokenizer: tests text-and-image models in seconds without downloads."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Classes, Encoded, Model
from framework.build.model.bytelevel import PAD, byte_tokenizer
from framework.build.model.label_encoding import ClassNames, encode_class, label_config
from framework.build.model.picture import read_picture
from framework.core.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CLS, _SEP = "[CLS]", "[SEP]"


class TinyImageText(Model):
    """A randomly initialized ViLT (Kim et al., 2021, arXiv:2102.03334) for tests; learns only simple tasks.

    Text tokens and image patches go through the same encoder layers.
    """

    task: ClassVar[str] = "image-text-classification"

    labels: ClassNames = ()
    """The classes."""
    layers: Annotated[int, Field(ge=1)] = 2
    """Encoder layers."""
    hidden_size: Annotated[int, Field(ge=32, multiple_of=32)] = 64
    """Hidden size; the head size is 32."""
    context: Annotated[int, Field(ge=16)] = 64
    """Longest text in tokens."""
    image_size: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Side length in pixels that images are resized to; a patch is 8 x 8."""

    def uses(self) -> Mapping[str, str]:
        """Return Pillow, which reads the images."""
        return {"pillow": "vision"}

    @property
    def classes(self) -> Classes:
        """Return ``labels``."""
        return Classes("labels", self.labels)

    @property
    def origin(self) -> str:
        """Return ``random``: nothing is downloaded."""
        return "random"

    def materialize(self, output: Path, seed: int) -> None:
        """Write the model; *seed* initializes its weights."""
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

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return the text's token ids, the index of its class, and the image's pixels."""
        if "image" not in row:
            raise DataError("image classification needs 'image' (a path), 'text' and 'label'")
        text = row.copy()
        image = text.pop("image")
        ids, labels = encode_class(tokenizer, text, self.labels)
        return [(ids, labels, read_picture(image, self.image_size))]
