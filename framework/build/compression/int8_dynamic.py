"""Dynamic quantization: int8 weights, activation ranges measured in every call."""

from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.qdq import GRAPH, first_line, open_graph, prepared_output
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet


class Int8Dynamic(ExportCompression):
    """ONNX Runtime's dynamic quantization of every matrix product."""

    label: ClassVar[str] = "int8"
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    bits: ClassVar[Literal[4, 8, 16]] = 8

    per_channel: bool = True
    """One scale per output channel instead of one per matrix: more accurate, not slower."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Quantize the exported graph and copy the other files; see the base class."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        graph = open_graph(exported.folder / GRAPH)
        with prepared_output(exported, output), quiet():  # it suggests what the exporter has done already
            try:
                quantize_dynamic(
                    graph, output / GRAPH, weight_type=QuantType.QInt8, per_channel=self.per_channel
                )
            except Exception as error:  # ONNX Runtime's quantizer raises exceptions of many types
                raise StepError(
                    f"compression=int8-dynamic: {GRAPH} cannot be quantized: {first_line(error)}"
                ) from error
