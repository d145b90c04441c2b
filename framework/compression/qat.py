"""Quantisation-aware training: the model learns with the rounding that it will be run with."""

from typing import Annotated, ClassVar

from pydantic import Field

from framework.compression import ModelCompression
from framework.compression.fake_quantised import FakeQuantised
from framework.compression.grid import Scheme
from framework.training import Training
from framework.training.supervised import Supervised
from framework.tuning import Tuning


class Qat(ModelCompression):
    """Train the tuned model on, with fake quantisation (Jacob et al., 2018, arXiv:1712.05877), by torchao.

    The folder that it leaves is an ordinary one in float32, whose weights lie on the grid of the engines'
    integers. A later option that quantises to the same grid changes no weight any more: ``int4-weight`` and
    ``w4a8`` in blocks of ``group_size``, ``int8-dynamic`` by channel. Heads and embeddings stay as they are.
    """

    label: ClassVar[str] = "qat"
    undone_by_training: ClassVar[str] = "its rounding"

    scheme: Scheme = "8da4w"
    """What is trained for. ``8da4w``: int4 weights in blocks, and int8 activations with a range for each
    token. ``int8``: int8 weights with a scale for each output channel, and the same activations."""
    group_size: Annotated[int, Field(ge=1)] = 32
    """Inputs that share the scale of an int4 weight; the ``block_size`` of the option that follows."""
    training: Training = Supervised()
    """How it is trained; a tenth of the tuning's learning rate is a good start."""

    @property
    def tuning(self) -> Tuning:
        """Return full training through rounding."""
        return FakeQuantised(scheme=self.scheme, group_size=self.group_size)
