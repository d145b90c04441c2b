"""Weights in 4 bits, activations in float: what decoding one token at a time gains most from."""

from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported


class Int4Weight(ExportCompression):
    """Block-wise round-to-nearest 4-bit weights, quantized by the exporter.

    ONNX has them as ``MatMulNBits``, OpenVINO by NNCF. Plain ONNX and OpenVINO keep embeddings and what
    gives the logits in 8 bits; OpenVINO needs blocks that divide the rows of every matrix.
    """

    label: ClassVar[str] = "int4"
    exports: ClassVar[tuple[str, ...]] = ("genai", "openvino", "onnxruntime")
    bits: ClassVar[Literal[4, 8, 16]] = 4

    block_size: Literal[16, 32, 64, 128, 256] = 32
    """Weights that share one scale: smaller blocks are closer to float and larger on disk."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Let the exporter compress what it wrote; see the base class."""
        exported.export.compress_weights(exported.folder, exported.source, output, "int4", self.block_size)
