"""1-bit weights: not supported; ``run plan`` gives the reason and an alternative."""

from typing import ClassVar

from framework.build.compression import Compression


class Binary(Compression):
    """Not supported: 1-bit weights need dedicated hardware, and no supported runtime has 1-bit kernels."""

    label: ClassVar[str] = "binary"
    impossible: ClassVar[str] = (
        "weights of one bit serve purpose-built chips (ASICs) alone, on what models are served by here they "
        "lose quality and save no time; set compression=int4-weight"
    )
