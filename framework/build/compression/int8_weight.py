"""8-bit weights with float activations: a quarter of the size with almost no loss."""

from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported


class Int8Weight(ExportCompression):
    """Round-to-nearest 8-bit weights with one scale per matrix row or block; no calibration rows.

    OpenVINO stores them through NNCF (https://github.com/openvinotoolkit/nncf), plain ONNX as
    ``MatMulNBits``. An output layer tied to the embedding is stored separately. Both runtimes may round
    activations to 8 bits, block by block and within a product, where that is faster.
    """

    label: ClassVar[str] = "int8-weight"
    exports: ClassVar[tuple[str, ...]] = ("openvino", "onnxruntime")
    bits: ClassVar[Literal[4, 8, 16]] = 8

    def compress(self, exported: Exported, output: Path) -> None:
        """Compress the export through its exporter; see the base class."""
        exported.export.compress_weights(exported.folder, exported.source, output, "int8")
