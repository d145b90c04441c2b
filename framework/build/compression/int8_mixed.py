"""Static int8 quantization; sensitive layers stay in float."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.layer_names import layer_names
from framework.build.compression.qdq import GRAPH, Method, Quantizer, prepared_output
from framework.core.errors import StepError

if TYPE_CHECKING:
    import numpy as np


class Int8Mixed(ExportCompression):
    """``int8-static`` except for layers whose quantization alone changes the logits by more than ``budget``.

    Every layer is quantized alone once and run on the calibration rows. For a small encoder, each layer takes
    about as long as exporting the model.
    """

    label: ClassVar[str] = "int8-mixed"
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime", "tensorrt")
    bits: ClassVar[Literal[4, 8, 16]] = 8
    least_share: ClassVar[float] = 0.25

    calibration_rows: Annotated[int, Field(gt=0)] = 32
    """Training rows that activation ranges and sensitivity are measured on, evenly spaced over the data."""
    method: Method = "minmax"
    """How activation ranges are computed; see ``int8-static``."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """For ``method=percentile``: percent of the values inside the range."""
    per_channel: bool = True
    """One scale per output channel of a weight instead of one per matrix: more accurate."""
    budget: Annotated[float, Field(gt=0)] = 0.05
    """Largest change of the logits that one int8 layer may cause; layers above it stay in float. The unitless
    ratio of the root mean square difference to the standard deviation of the float logits."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Measure every layer alone, then quantize those within the budget; see the base class.

        Raises:
            StepError: as in the base class, or no layer is within the budget.
        """
        numbers, rows = calibration_rows(exported, self.calibration_rows)
        settings = (self.method, self.percentile, self.per_channel)
        with prepared_output(exported, output) as scratch:
            quantizer = Quantizer(exported, rows, scratch / "ranges.json")
            expected, trial = quantizer.logits(quantizer.file), scratch / "trial.onnx"
            quantizer.quantize(trial, quantizer.layers, *settings)
            all_layers = relative_difference(expected, quantizer.logits(trial))
            sensitivity = {}
            for layer in quantizer.layers:
                quantizer.quantize(trial, [layer], *settings)
                sensitivity[layer] = relative_difference(expected, quantizer.logits(trial))
            kept = [layer for layer in quantizer.layers if sensitivity[layer] <= self.budget]
            if not kept:
                raise StepError(
                    f"compression.int8-mixed.budget: every layer changes the logits by more than "
                    f"{self.budget:g}, the least by {min(sensitivity.values()):.3g}; raise "
                    "compression.int8-mixed.budget"
                )
            quantizer.quantize(output / GRAPH, kept, *settings)
            names = layer_names(quantizer.model, quantizer.weights, exported.source)
        write_decisions(
            output,
            calibration_rows=numbers,
            method=self.method,
            budget=self.budget,
            all_in_int8=round(all_layers, 6),
            sensitivity={names[layer]: round(value, 6) for layer, value in sensitivity.items()},
            int8=[names[layer] for layer in kept],
            float=[names[layer] for layer in quantizer.layers if layer not in kept],
        )


def relative_difference(expected: "list[np.ndarray]", actual: "list[np.ndarray]") -> float:
    """Return the root mean square difference of the logits over the standard deviation of *expected*."""
    import numpy as np

    first = np.concatenate([logits.reshape(-1) for logits in expected])
    second = np.concatenate([logits.reshape(-1) for logits in actual])
    return float(np.sqrt(np.mean((first - second) ** 2)) / (np.std(first) or 1.0))
