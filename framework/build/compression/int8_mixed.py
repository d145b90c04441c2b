"""Static quantization of the layers that bear it: each is tried alone, those that hurt stay in float."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.layer_names import layer_names
from framework.build.compression.qdq import GRAPH, Method, Quantizer, companions
from framework.core.errors import StepError

if TYPE_CHECKING:
    import numpy as np


class Int8Mixed(ExportCompression):
    """Like ``int8-static``, but for layers whose quantization alone moves the logits by more than ``budget``.

    Every layer is quantized once by itself and run over the calibration rows, which takes about as long
    as exporting the model for each layer of a small encoder.
    """

    label: ClassVar[str] = "int8-mixed"
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime", "tensorrt")
    bits: ClassVar[Literal[4, 8, 16]] = 8
    least_share: ClassVar[float] = 0.25

    calibration_rows: Annotated[int, Field(gt=0)] = 32
    """Training rows that show the ranges of activations and that layers are tried on, evenly spread."""
    method: Method = "minmax"
    """How rows become a range; see ``int8-static``."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """For ``percentile``: per cent of the values that the range takes in."""
    per_channel: bool = True
    """One scale for each output channel of a weight instead of one a matrix: closer to float."""
    budget: Annotated[float, Field(gt=0)] = 0.05
    """Most that one layer in int8 may move the logits: root mean square of the difference over that of the
    logits about their mean, no unit. Layers above it stay in float."""

    def compress(self, exported: Exported, output: Path) -> None:
        """Try every layer alone, then quantize those within the budget; see the base class.

        Raises:
            StepError: as in the base class, or no layer is within the budget.
        """
        numbers, rows = calibration_rows(exported.data, self.calibration_rows)
        chosen = (self.method, self.percentile, self.per_channel)
        with companions(exported, output) as scratch:
            quantizer = Quantizer(exported, rows, scratch / "ranges.json")
            wanted, alone = quantizer.logits(quantizer.file), scratch / "alone.onnx"
            quantizer.quantize(alone, quantizer.layers, *chosen)
            together = relative_difference(wanted, quantizer.logits(alone))
            moved = {}
            for layer in quantizer.layers:
                quantizer.quantize(alone, [layer], *chosen)
                moved[layer] = relative_difference(wanted, quantizer.logits(alone))
            kept = [layer for layer in quantizer.layers if moved[layer] <= self.budget]
            if not kept:
                raise StepError(
                    f"compression=int8-mixed: every layer moves the logits by more than {self.budget:g}, the "
                    f"least by {min(moved.values()):.3g}; raise compression.int8-mixed.budget"
                )
            quantizer.quantize(output / GRAPH, kept, *chosen)
            names = layer_names(quantizer.model, quantizer.weights, exported.source)
        write_decisions(
            output,
            calibration_rows=numbers,
            method=self.method,
            budget=self.budget,
            all_in_int8=round(together, 6),
            sensitivity={names[layer]: round(value, 6) for layer, value in moved.items()},
            int8=[names[layer] for layer in kept],
            float=[names[layer] for layer in quantizer.layers if layer not in kept],
        )


def relative_difference(wanted: "list[np.ndarray]", given: "list[np.ndarray]") -> float:
    """Return the root mean square of the difference of two lists of logits over the spread of the first."""
    import numpy as np

    one = np.concatenate([part.reshape(-1) for part in wanted])
    other = np.concatenate([part.reshape(-1) for part in given])
    return float(np.sqrt(np.mean((one - other) ** 2)) / (np.std(one) or 1.0))
