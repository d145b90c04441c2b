"""Sequence classification: one or several labels for a whole text."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from framework.build.data import LossOn
from framework.build.data.row import Row
from framework.build.model import Classes, Encoded, Model
from framework.build.model.label_encoding import ClassNames, encode_class, encode_classes, write_encoder
from framework.core.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SequenceClassification(Model):
    """An encoder with a classification head, from any source that transformers opens."""

    source: Source
    """A Hugging Face folder with an encoder. Its own head is kept if the number of labels matches."""
    labels: ClassNames = ()
    """The classes, in the order of the model's outputs. Without them, the plan names those of the rows."""
    problem: Literal["single-label", "multi-label"] = "single-label"
    """Whether a row has exactly one class (``label``) or any number of classes (``labels``, a list)."""

    @property
    def task(self) -> str:
        """Return the task of ``problem``."""
        return "multi-label-classification" if self.problem == "multi-label" else "sequence-classification"

    @property
    def classes(self) -> Classes:
        """Return ``labels``."""
        return Classes("labels", self.labels)

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialize(self, output: Path, seed: int) -> None:
        """Write the encoder in float32; *seed* initializes the head."""
        config = {"problem_type": "multi_label_classification"} if self.problem == "multi-label" else {}
        auto_class = "AutoModelForSequenceClassification"
        write_encoder(self.source, auto_class, self.labels, output, seed, **config)

    def encode(
        self, tokenizer: "PreTrainedTokenizerBase", row: Row, loss_on: LossOn = "answers"
    ) -> list[Encoded]:
        """Return the text's token ids, and the index of its class or 1 or 0 for each class."""
        encode = encode_classes if self.problem == "multi-label" else encode_class
        return [encode(tokenizer, row, self.labels)]
