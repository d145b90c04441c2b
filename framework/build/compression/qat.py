"""Quantisation-aware training: the model learns with the rounding that it will be run with."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.compression import Compression, ModelCompression
from framework.build.compression.fake_quantized import FakeQuantised
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
"""The option to suggest for each scheme, and the labels of all that round to its grid."""


class Qat(ModelCompression):
    """Train the tuned model on, with fake quantisation (Jacob et al., 2018, arXiv:1712.05877), by torchao.

    The folder that it leaves is an ordinary one in float32, whose weights lie on the grid of the integers
    that they will be. An option that follows and quantises to the same grid changes none of them any more.
    Embeddings stay as they are, and so does a head that shares their weights: the option that follows rounds
    it, just as it was rounded while it was trained.
    """

    label: ClassVar[str] = "qat"
    undone_by_training: ClassVar[str] = "its rounding"

    scheme: Scheme = "int4"
    """What is trained for. ``int4``: 4-bit weights in blocks, as ``int4-weight`` makes them. ``8da4w``: 4-bit
    weights, and 8-bit activations with a range for each token, as in ``w4a8``. ``int8``: 8-bit weights with
    a scale for each output channel, and such activations, as in ``int8-dynamic``."""
    group_size: Annotated[int, Field(ge=1)] = 32
    """Inputs that share the scale of a 4-bit weight: the ``block_size`` or ``group_size`` of the option that
    follows."""
    training: Training = Supervised()
    """How it is trained; a tenth of the tuning's learning rate is a good start."""

    def requires(self) -> Mapping[str, str]:
        """Return what its training works with."""
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
        """Return full training through rounding."""
        return FakeQuantised(scheme=self.scheme, group_size=self.group_size)
