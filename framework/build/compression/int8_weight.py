"""Weights in 8 bits, activations in float: a quarter of the size at almost no loss."""

from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported


class Int8Weight(ExportCompression):
    """Round-to-nearest 8-bit weights with a scale each row of a matrix, or each block; no rows are needed.

    OpenVINO has them by NNCF (https://github.com/openvinotoolkit/nncf), plain ONNX as ``MatMulNBits``. The
    matrix that gives a language model's logits is stored apart from the embedding, where the two are one.
    Both runtimes round activations to 8 bits, a block at a time and only to multiply, where that is quicker.
    """

    label: ClassVar[str] = "int8-weight"
    exports: ClassVar[tuple[str, ...]] = ("openvino", "onnxruntime")
    bits: ClassVar[Literal[4, 8, 16]] = 8

    def compress(self, exported: Exported, output: Path) -> None:
        """Let the exporter compress what it wrote; see the base class."""
        exported.export.compress_weights(exported.folder, exported.source, output, "int8")
