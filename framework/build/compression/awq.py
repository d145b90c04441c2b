"""AWQ: 4-bit weights, scaled before rounding to protect the most important channels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.modelopt import calibrate, fold_scales
from framework.build.compression.packed import write_packed


class Awq(ExportCompression):
    """Activation-aware weight quantization (Lin et al., 2023, arXiv:2306.00978), W4A16, through ModelOpt.

    The scales are folded into the preceding layers, which leaves plain group-wise 4-bit weights. vLLM serves
    the folder, transformers opens it with ``compressed-tensors``, and the torch engine gets the same numbers.
    """

    label: ClassVar[str] = "awq"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    exports: ClassVar[tuple[str, ...]] = ("torch",)
    plain_weights: ClassVar[bool] = True
    bits: ClassVar[Literal[4, 8, 16]] = 4
    least_share: ClassVar[float] = 0.9

    calibration_rows: Annotated[int, Field(gt=0)] = 64
    """Training rows used to find the important channels, evenly spaced over the data."""
    group_size: Annotated[int, Field(ge=2)] = 128
    """Consecutive weights that share one scale. It must divide the input width of every layer; vLLM's
    kernels support 32, 64 and 128."""

    def requires(self) -> Mapping[str, str]:
        """Return ModelOpt's distribution."""
        return {"nvidia-modelopt": "compress"}

    def compress(self, exported: Exported, output: Path) -> None:
        """Search the scales on training rows, then quantize; see the base class."""
        numbers, rows = calibration_rows(exported, self.calibration_rows)
        model = calibrate(exported, rows, "INT4_AWQ_CFG", group_size=self.group_size)
        write_packed(model, fold_scales(model), exported.folder, output, self.group_size)
        write_decisions(output, calibration_rows=numbers, method="awq_lite", group_size=self.group_size)
