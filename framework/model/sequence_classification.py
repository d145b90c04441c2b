"""Sequence classification: one label for a whole text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.core.errors import DataError, StepError
from framework.core.quiet import quiet
from framework.core.source import Source
from framework.core.words import nearest
from framework.data.rows import Row
from framework.model import Encoded, Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SequenceClassification(Model):
    """An encoder with a fresh classification head, from any source that transformers opens."""

    task: ClassVar[str] = "sequence-classification"

    source: Source
    """A Hugging Face folder of an encoder."""
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    """The classes, in the order of the model's outputs."""

    @property
    def origin(self) -> str:
        """Return the source's URL."""
        return self.source.url

    def materialise(self, output: Path, seed: int) -> None:
        """Write the encoder in float32 with a head drawn from *seed*."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        path = self.source.fetch()
        names = dict(enumerate(self.labels))
        try:
            with quiet(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = AutoModelForSequenceClassification.from_pretrained(
                    path,
                    dtype=torch.float32,
                    num_labels=len(names),
                    id2label=names,
                    label2id={label: index for index, label in names.items()},
                )
            tokenizer = AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
            first_line = str(error).partition("\n")[0]
            raise StepError(f"{self.source.url}: transformers cannot open it: {first_line}") from error
        model.save_pretrained(output)
        tokenizer.save_pretrained(output)

    def encode(self, tokenizer: "PreTrainedTokenizerBase", row: Row) -> Encoded:
        """Return the text's token ids and, as the only label, the index of its class."""
        if "text" not in row or "label" not in row:
            raise DataError("classification needs 'text' and 'label'")
        if row["label"] not in self.labels:
            guess = nearest(row["label"], self.labels)
            hint = f"did you mean '{guess}'?" if guess else f"known are {', '.join(self.labels)}"
            raise DataError(f"label {row['label']!r} is not in model.labels; {hint}")
        ids = [int(token) for token in tokenizer(row["text"])["input_ids"]]
        return ids, [self.labels.index(row["label"])]
