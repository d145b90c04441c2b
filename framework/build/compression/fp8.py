"""FP8: weights and activations as 8-bit floats (E4M3), for GPUs with FP8 tensor cores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.modelopt import calibrate, write_modelopt_layout


class Fp8(ExportCompression):
    """FP8 weights and activations with per-tensor scales, through ModelOpt; vLLM serves the folder.

    It is fast on Ada and Hopper GPUs only; the torch engine reproduces its numbers on any machine.
    """

    label: ClassVar[str] = "fp8"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    exports: ClassVar[tuple[str, ...]] = ("torch",)
    plain_weights: ClassVar[bool] = True
    bits: ClassVar[Literal[4, 8, 16]] = 8
    least_share: ClassVar[float] = 0.9

    calibration_rows: Annotated[int, Field(gt=0)] = 64
    """Training rows that activation ranges are measured on, evenly spaced over the data."""

    def requires(self) -> Mapping[str, str]:
        """Return ModelOpt's distribution."""
        return {"nvidia-modelopt": "compress"}

    def compress(self, exported: Exported, output: Path) -> None:
        """Measure the ranges on training rows, then quantize; see the base class."""
        numbers, rows = calibration_rows(exported, self.calibration_rows)
        write_modelopt_layout(calibrate(exported, rows, "FP8_DEFAULT_CFG"), exported, output)
        write_decisions(output, calibration_rows=numbers, method="max")
