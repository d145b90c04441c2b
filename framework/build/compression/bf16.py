"""Weights and matrix products in bfloat16: half the size, float32's range, 8 significant bits."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.sixteen_bit import half_requires, write_half


class BFloat16(ExportCompression):
    """bfloat16 for NVIDIA GPUs, and for PyTorch on CPUs with bfloat16 instructions. No value can overflow.

    ONNX Runtime has no bfloat16 kernels on the CPU, so a TensorRT export requires an NVIDIA GPU.
    """

    label: ClassVar[str] = "bf16"
    bits: ClassVar[Literal[4, 8, 16]] = 16
    exports: ClassVar[tuple[str, ...]] = ("torch", "tensorrt")

    def requires_for(self, engine: str) -> Mapping[str, str]:
        """Return what casts graphs; see the base class."""
        return half_requires(engine)

    def compress(self, exported: Exported, output: Path) -> None:
        """Cast the export; see the base class."""
        # bfloat16 has float32's range: no activation can overflow, so none is measured.
        write_half(exported, output, "bf16", data_max=float("inf"))
