"""Quantization-aware training: train with the rounding of the quantized model."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.compression import Compression, ModelCompression
from framework.build.compression.fake_quantized import FakeQuantized
from framework.build.compression.rounding_grid import Scheme
from framework.build.training import Training
from framework.build.training.supervised import Supervised
from framework.build.tuning import Tuning
from framework.core.problem import Problem

_STORED: dict[Scheme, tuple[str, tuple[str, ...]]] = {
    "int4": ("int4-weight", ("int4",)),
    "8da4w": ("w4a8", ("w4a8",)),
    "int8": ("int8-dynamic", ("int8", "int8-static", "int8-mixed")),
}
"""For each scheme the option to suggest, and the labels of all options that round to its grid."""


class Qat(ModelCompression):
    """Continue training with fake quantization (Jacob et al., 2018, arXiv:1712.05877), through torchao.

    The result is an ordinary float32 folder whose weights are on the grid of the quantized model. A following
    option that quantizes to the same grid does not change them. Embeddings are not rounded, nor is a head
    tied to them: the following option rounds the head exactly as training did.
    """

    label: ClassVar[str] = "qat"
    undone_by_training: ClassVar[str] = "its rounding"

    scheme: Scheme = "int4"
    """The target format. ``int4``: block-wise 4-bit weights, as in ``int4-weight``. ``8da4w``: 4-bit weights
    and 8-bit activations with one range per token, as in ``w4a8``. ``int8``: 8-bit weights with one scale per
    output channel and the same activations, as in ``int8-dynamic``."""
    group_size: Annotated[int, Field(ge=1)] = 32
    """Consecutive 4-bit weights that share one scale: the ``block_size`` or ``group_size`` of the following
    option."""
    training: Training = Supervised()
    """How the model is trained; start with a tenth of the learning rate of ``training``."""

    def requires(self) -> Mapping[str, str]:
        """Return the distributions that its training requires."""
        return self.tuning.requires()

    def cautions(self, before: Sequence[Compression], after: Sequence[Compression]) -> list[Problem]:
        """Return a scheme or a group size that no later option quantizes with; see the base class."""
        option, labels = _STORED[self.scheme]
        quantizer = next((later for later in after if later.label in labels), None)
        if quantizer is None:
            reason = f"trains for {option}, which does not follow: weights stay float or are rounded again"
            return [Problem("scheme", reason, (f"compression=[qat,{option}]",), "choose another scheme")]
        size = getattr(quantizer, "block_size", getattr(quantizer, "group_size", self.group_size))
        if self.scheme != "int8" and size != self.group_size:
            reason = f"trains for groups of {self.group_size}, but {option} quantizes groups of {size}"
            return [Problem("group_size", reason, (f"group_size={size}",))]
        return []

    @property
    def tuning(self) -> Tuning:
        """Return full fine-tuning with fake quantization."""
        return FakeQuantized(scheme=self.scheme, group_size=self.group_size)
