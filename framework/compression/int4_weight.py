"""Weights in 4 bits, activations in float: what decoding one token at a time gains most from."""

from pathlib import Path
from typing import ClassVar, Literal

from framework.compression import ExportCompression, Exported


class Int4Weight(ExportCompression):
    """Block-wise round-to-nearest 4-bit weights, quantised by the exporter (ONNX ``MatMulNBits``)."""

    label: ClassVar[str] = "int4"
    exports: ClassVar[tuple[str, ...]] = ("genai",)
    bits: ClassVar[Literal[4, 8, 16]] = 4

    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Weights that share one scale: smaller blocks are closer to float and larger on disk."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Export again with 4-bit weights; see the base class."""
        exported.export.write(exported.source, output, precision="int4", block_size=self.block_size)
