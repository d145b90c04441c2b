"""Unstructured pruning: single weights become zero during training."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.build.compression import ModelCompression
from framework.build.compression.sparse import Pattern, Sparse
from framework.build.training import Training
from framework.build.training.supervised import Supervised
from framework.build.tuning import Tuning


class PruneUnstructured(ModelCompression):
    """Sparse training: gradually set the smallest weights of each layer to zero while training the others.

    The folder keeps its size and format. Zeros pay off where a kernel skips them (2:4 on NVIDIA GPUs from
    Ampere on) or where files are compressed. It must be the last option that changes the model.
    """

    label: ClassVar[str] = "sparse"
    undone_by_training: ClassVar[str] = "its zeros"

    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the weights of each linear layer below the head that are zero at the end."""
    pattern: Pattern = "none"
    """``none``: zeros anywhere. ``2:4``: two of every four inputs are zero, which requires ``ratio=0.5``."""
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of the steps in which the number of zeros grows, along a cubic curve; the remaining steps recover
    the loss. 0 sets all zeros before the first step."""
    training: Training = Supervised()
    """How the remaining weights are trained."""

    @field_validator("pattern", mode="before")
    @classmethod
    def _read_minutes(cls, pattern: Any) -> Any:
        """Accept ``2:4`` without quotes, which YAML 1.1 reads as the base-60 number 124."""
        return "2:4" if pattern == 124 else pattern

    @model_validator(mode="after")
    def _check_pattern(self) -> Self:
        if self.pattern == "2:4" and self.ratio != 0.5:
            raise PydanticCustomError("pattern", "'ratio' should be 0.5 with pattern '2:4'")
        return self

    @property
    def tuning(self) -> Tuning:
        """Return full fine-tuning under a growing mask."""
        return Sparse(ratio=self.ratio, pattern=self.pattern, ramp=self.ramp)
