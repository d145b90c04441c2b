"""Structured pruning: remove whole channels and heads, which leaves an ordinary smaller model."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.compression import ModelCompression
from framework.build.compression.save_model import save_changed
from framework.build.model import Model
from framework.core.errors import StepError


class PruneStructured(ModelCompression):
    """Remove the channels and heads that contribute least to a layer's output, then train to recover.

    Importance is measured on training rows. Every layer loses the same number, so ``config.json`` can state
    how many are left and unmodified transformers opens the folder. Without ``training``, removing even a few
    channels costs much quality.
    """

    label: ClassVar[str] = "pruned"

    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of the channels of every feed-forward layer to remove."""
    heads_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the key-value heads to remove, each with its query heads. Only for architectures whose config
    has a head size, such as Llama, Qwen and Gemma. Rounded so that the heads divide the hidden size."""
    multiple_of: Annotated[int, Field(ge=1)] = 32
    """The remaining channels are a multiple of this, as blocks of 4-bit weights and GPU kernels require."""
    rows: Annotated[int, Field(ge=1)] = 64
    """Number of training rows, from the start, that importance is measured on."""

    @model_validator(mode="after")
    def _cut_something(self) -> Self:
        if not self.ratio and not self.heads_ratio:
            raise PydanticCustomError("no_ratio", "'ratio' or 'heads_ratio' should be above 0")
        return self

    def reshape(self, model: Model, folder: Path, data: Path, output: Path) -> None:
        """Write the pruned model; see the base class."""
        from framework.build.compression.channels import cut_channels, cut_heads
        from framework.build.task import open_task
        from framework.build.training.batches import read_examples

        opened, task = model.open(folder), open_task(model.task)
        rows = task.right_rows(read_examples(data / "train"))[: self.rows]
        if not rows:
            raise StepError("compression.prune-structured: no training rows to measure importance on")
        if self.heads_ratio:
            cut_heads(opened, self.heads_ratio, task, rows)
        if self.ratio:
            cut_channels(opened, self.ratio, self.multiple_of, task, rows)
        save_changed(opened, folder, output)
