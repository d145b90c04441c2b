"""4-bit weights with float activations: the largest speed-up for token-by-token decoding."""

from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported


class Int4Weight(ExportCompression):
    """Block-wise round-to-nearest 4-bit weights, quantized by the exporter.

    ONNX stores them as ``MatMulNBits``, OpenVINO through NNCF. Plain ONNX and OpenVINO keep embeddings and
    the output layer in 8 bits. OpenVINO requires that the block size divides the rows of every matrix.
    """

    label: ClassVar[str] = "int4"
    exports: ClassVar[tuple[str, ...]] = ("genai", "openvino", "onnxruntime")
    bits: ClassVar[Literal[4, 8, 16]] = 4

    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Consecutive weights that share one scale. Smaller blocks are more accurate and larger on disk."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Compress the export through its exporter; see the base class."""
        exported.export.compress_weights(exported.folder, exported.source, output, "int4", self.block_size)
