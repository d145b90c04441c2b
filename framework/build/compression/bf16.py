"""Weights and products in bfloat16: half the bytes with float32's range, and 8 significant bits."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.sixteen_bit import half_requires, make_half


class BFloat16(ExportCompression):
    """16 bits for NVIDIA GPUs, and for PyTorch on CPUs that multiply bfloat16; nothing can overflow.

    ONNX Runtime has no such products on a CPU, so a TensorRT engine of it is built only where a GPU runs it.
    """

    label: ClassVar[str] = "bf16"
    bits: ClassVar[Literal[4, 8, 16]] = 16
    exports: ClassVar[tuple[str, ...]] = ("torch", "tensorrt")

    def requires_for(self, engine: str) -> Mapping[str, str]:
        """Return what casts graphs; see the base class."""
        return half_requires(engine)

    def compress(self, exported: Exported, output: Path) -> None:
        """Cast what was exported; see the base class."""
        # As in float32, no value that flows can be too large: none is looked at.
        make_half(exported, output, "bf16", data_max=float("inf"))
