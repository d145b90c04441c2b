"""Static quantization: int8 weights and activations, whose ranges real training rows have shown."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.layer_names import layer_names
from framework.build.compression.qdq import GRAPH, Method, Quantizer, companions


class Int8Static(ExportCompression):
    """Q/DQ pairs before every matrix product; activation ranges are fixed, so nothing is measured in a call.

    It is for runtimes that take int8 from the graph, such as TensorRT, and quicker than ``int8-dynamic``
    where ranges are costly to measure. Embeddings have eight bits on a CPU, and stay in float for TensorRT.
    """

    label: ClassVar[str] = "int8-static"
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime", "tensorrt")
    bits: ClassVar[Literal[4, 8, 16]] = 8

    calibration_rows: Annotated[int, Field(gt=0)] = 64
    """Training rows that show the ranges of activations, evenly spread over the data; one is far too few."""
    method: Method = "minmax"
    """How rows become a range: ``minmax`` takes in all that was seen, ``percentile`` cuts rare values off,
    ``entropy`` keeps the most of their distribution."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """For ``percentile``: per cent of the values that the range takes in."""
    per_channel: bool = True
    """One scale for each output channel of a weight instead of one a matrix: closer to float."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Calibrate and quantize; see the base class."""
        numbers, rows = calibration_rows(exported.data, self.calibration_rows)
        with companions(exported, output) as scratch:
            quantizer = Quantizer(exported, rows, scratch / "ranges.json")
            chosen = (self.method, self.percentile, self.per_channel)
            quantizer.quantize(output / GRAPH, quantizer.layers, *chosen)
            names = layer_names(quantizer.model, quantizer.weights, exported.source)
        write_decisions(
            output, calibration_rows=numbers, method=self.method, int8=list(names.values()), float=[]
        )
