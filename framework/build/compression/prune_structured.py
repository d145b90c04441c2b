"""Structured pruning: whole channels and heads go, and what stays is an ordinary smaller model."""

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from framework.build.compression import ModelCompression
from framework.build.compression.save_model import write_changed
from framework.build.model import Model
from framework.core.errors import StepError


class PruneStructured(ModelCompression):
    """Cut the channels and heads that add least to a layer's output on training rows, then train again.

    Every layer loses as many, so that ``config.json`` can say how many are left and plain transformers opens
    the folder. Without ``training`` even a few channels cost much.
    """

    label: ClassVar[str] = "pruned"

    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of the channels of every feed-forward layer that is cut."""
    heads_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the key-value heads that is cut, each with its query heads; only for models whose config gives
    the heads' width, as Llama's and its kin's do. The nearest number dividing the hidden size is taken."""
    multiple_of: Annotated[int, Field(ge=1)] = 32
    """The channels that stay are a multiple of this: what blocks of 4-bit weights and GPUs like."""
    rows: Annotated[int, Field(ge=1)] = 64
    """Training rows, the first ones, by which channels and heads are weighed."""

    @model_validator(mode="after")
    def _cut_something(self) -> Self:
        if not self.ratio and not self.heads_ratio:
            raise PydanticCustomError("no_ratio", "'ratio' or 'heads_ratio' should be above 0")
        return self

    def reshape(self, model: Model, folder: Path, data: Path, output: Path) -> None:
        """Write the cut model; see the base class."""
        from framework.build.compression.channels import cut_channels, cut_heads
        from framework.build.task import open_task
        from framework.build.training.batches import read_examples

        opened, task = model.open(folder), open_task(model.task)
        rows = read_examples(data / "train")[: self.rows]
        if not rows:
            raise StepError("compression.prune-structured: there are no training rows to weigh channels by")
        if self.heads_ratio:
            cut_heads(opened, self.heads_ratio, task, rows)
        if self.ratio:
            cut_channels(opened, self.ratio, self.multiple_of, task, rows)
        write_changed(opened, folder, output)
