"""Weights of one bit: asked for at times, and answered by ``run plan``."""

from typing import ClassVar

from framework.build.compression import Compression


class Binary(Compression):
    """No processor or GPU that an engine here runs on multiplies single bits: only purpose-built chips do."""

    label: ClassVar[str] = "binary"
    impossible: ClassVar[str] = (
        "weights of one bit serve purpose-built chips (ASICs) alone, on what models are served by here they "
        "lose quality and save no time; set compression=int4-weight"
    )
