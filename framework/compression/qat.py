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

    The folder that it leaves is an ordinary one in float32, whose weights lie on the grid of the integers
    that they will be. An option that follows and quantises to the same grid changes none of them any more.
    Heads and embeddings stay as they are.
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

    @property
    def tuning(self) -> Tuning:
        """Return full training through rounding."""
        return FakeQuantised(scheme=self.scheme, group_size=self.group_size)
