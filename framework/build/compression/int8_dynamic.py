"""Dynamic quantisation: int8 weights, activation ranges measured on every call."""

from pathlib import Path
from typing import ClassVar, Literal

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.qdq import GRAPH, companions, open_graph
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet


class Int8Dynamic(ExportCompression):
    """onnxruntime's dynamic quantisation of every matrix product."""

    label: ClassVar[str] = "int8"
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    bits: ClassVar[Literal[4, 8, 16]] = 8

    per_channel: bool = True
    """One scale for each output channel instead of one a matrix: closer to float, no slower."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Quantise the exported graph and take the rest of the folder over; see the base class."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        graph = open_graph(exported.folder / GRAPH)
        with companions(exported, output), quiet():  # it advises what the exporter's optimiser has done
            try:
                quantize_dynamic(
                    graph, output / GRAPH, weight_type=QuantType.QInt8, per_channel=self.per_channel
                )
            except Exception as error:  # the quantiser raises bare exceptions of many kinds
                raise StepError(f"{GRAPH} cannot be quantised: {first_line(error)}") from error
