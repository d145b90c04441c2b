"""Unstructured pruning: single weights become zero while the model is trained."""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.build.compression import ModelCompression
from framework.build.compression.sparse import Pattern, Sparse
from framework.build.training import Training
from framework.build.training.supervised import Supervised
from framework.build.tuning import Tuning


class PruneUnstructured(ModelCompression):
    """Sparse training: the smallest weights of each layer go, step by step, and the others make up for them.

    The folder is as large as before and opens as before: zeros pay where a kernel skips them (2:4 on NVIDIA
    GPUs from Ampere on) or a file is compressed. It comes last of what changes the model.
    """

    label: ClassVar[str] = "sparse"
    undone_by_training: ClassVar[str] = "its zeros"

    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the weights of each linear layer below the head that are zero at the end, to the weight."""
    pattern: Pattern = "none"
    """``none``: zeros lie anywhere. ``2:4``: of every four inputs two are zero, so that ``ratio`` is 0.5."""
    ramp: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of the steps in which the zeros grow, by a cubic curve; the rest of them recovers. 0 makes all
    zeros before the first step."""
    training: Training = Supervised()
    """How the other weights are trained meanwhile."""

    @field_validator("pattern", mode="before")
    @classmethod
    def _read_minutes(cls, pattern: Any) -> Any:
        """Take ``2:4`` without quotes too, which YAML 1.1 reads as two minutes and four seconds."""
        return "2:4" if pattern == 124 else pattern

    @model_validator(mode="after")
    def _check_pattern(self) -> Self:
        if self.pattern == "2:4" and self.ratio != 0.5:
            raise PydanticCustomError("pattern", "'ratio' should be 0.5 with pattern '2:4'")
        return self

    @property
    def tuning(self) -> Tuning:
        """Return full training under a growing mask."""
        return Sparse(ratio=self.ratio, pattern=self.pattern, ramp=self.ramp)
