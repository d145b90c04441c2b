"""Binary weights: an option that only says why it cannot be used."""

from typing import ClassVar

from framework.build.compression import Compression
from framework.core.problem import Problem


class Binary(Compression):
    """1-bit weights, which no supported runtime has kernels for."""

    label: ClassVar[str] = "binary"
    impossible: ClassVar[Problem | None] = Problem(
        "compression",
        "1-bit weights need dedicated hardware; no supported runtime has 1-bit kernels",
        ("compression=int4-weight",),
    )
