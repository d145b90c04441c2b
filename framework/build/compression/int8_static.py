"""Static quantization: int8 weights and activations, with ranges calibrated on training rows."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.layer_names import layer_names
from framework.build.compression.qdq import GRAPH, Method, Quantizer, prepared_output


class Int8Static(ExportCompression):
    """Q/DQ pairs before every matrix product, with fixed activation ranges.

    For runtimes that read int8 from the graph, such as TensorRT. It is faster than ``int8-dynamic`` where
    measuring ranges at run time is expensive. Embeddings have 8 bits on a CPU and stay in float for TensorRT.
    """

    label: ClassVar[str] = "int8-static"
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime", "tensorrt")
    bits: ClassVar[Literal[4, 8, 16]] = 8

    calibration_rows: Annotated[int, Field(gt=0)] = 64
    """Training rows that activation ranges are measured on, evenly spaced over the data."""
    method: Method = "minmax"
    """How activation ranges are computed: ``minmax`` covers every value, ``percentile`` clips outliers,
    ``entropy`` minimizes the loss of information."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """For ``method=percentile``: percent of the values inside the range."""
    per_channel: bool = True
    """One scale per output channel of a weight instead of one per matrix: more accurate."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Calibrate and quantize; see the base class."""
        numbers, rows = calibration_rows(exported, self.calibration_rows)
        with prepared_output(exported, output) as scratch:
            quantizer = Quantizer(exported, rows, scratch / "ranges.json")
            settings = (self.method, self.percentile, self.per_channel)
            quantizer.quantize(output / GRAPH, quantizer.layers, *settings)
            names = layer_names(quantizer.model, quantizer.weights, exported.source)
        write_decisions(
            output, calibration_rows=numbers, method=self.method, int8=list(names.values()), float=[]
        )
