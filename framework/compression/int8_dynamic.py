"""Dynamic quantisation: int8 weights, activation ranges measured on every call."""

import shutil
from pathlib import Path
from typing import ClassVar, Literal

from framework.compression import ExportCompression, Exported
from framework.core.quiet import quiet
from framework.core.store import RECORD


class Int8Dynamic(ExportCompression):
    """onnxruntime's dynamic quantisation of every matrix product."""

    label: ClassVar[str] = "int8"
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime",)
    bits: ClassVar[Literal[4, 8, 16]] = 8

    per_channel: bool = True
    """One scale for each output channel instead of one a matrix: closer to float, no slower."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Quantise the exported graph and take the rest of the folder over; see the base class."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        apart = shutil.ignore_patterns("model.onnx*", RECORD)
        shutil.copytree(exported.folder, output, dirs_exist_ok=True, ignore=apart)
        graph = onnx.load(exported.folder / "model.onnx")
        # Shapes recorded by the exporter contradict those of the quantised graph.
        del graph.graph.value_info[:]
        with quiet():  # it advises a pre-processing that the exporter's own optimiser has done already
            quantize_dynamic(
                graph, output / "model.onnx", weight_type=QuantType.QInt8, per_channel=self.per_channel
            )
