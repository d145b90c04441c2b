"""1-bit weights: not supported; ``run plan`` gives the reason and an alternative."""

from typing import ClassVar

from framework.build.compression import Compression
from framework.core.problem import Problem


class Binary(Compression):
    """Not supported: 1-bit weights need dedicated hardware, and no supported runtime has 1-bit kernels."""

    label: ClassVar[str] = "binary"
    impossible: ClassVar[Problem | None] = Problem(
        "compression",
        "1-bit weights need dedicated hardware; no supported runtime has 1-bit kernels",
        ("compression=int4-weight",),
    )
