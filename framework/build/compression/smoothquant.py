"""SmoothQuant: int8 weights and activations; activation outliers are moved into the weights first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.modelopt import calibrate, fold_scales
from framework.build.compression.packed import write_packed


class SmoothQuant(ExportCompression):
    """SmoothQuant (Xiao et al., 2022, arXiv:2211.10438), W8A8, through ModelOpt.

    Weights have one scale per output channel, activations one per token, measured at run time. The smoothing
    is folded into the preceding layers. vLLM serves the folder, transformers opens it with
    ``compressed-tensors``, and the torch engine gets the same numbers.
    """

    label: ClassVar[str] = "smoothquant"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    exports: ClassVar[tuple[str, ...]] = ("torch",)
    plain_weights: ClassVar[bool] = True
    bits: ClassVar[Literal[4, 8, 16]] = 8
    least_share: ClassVar[float] = 0.9

    calibration_rows: Annotated[int, Field(gt=0)] = 64
    """Training rows that activation ranges are measured on, evenly spaced over the data."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Migration strength: 0 leaves all outliers in the activations, 1 moves them into the weights."""

    def requires(self) -> Mapping[str, str]:
        """Return ModelOpt's distribution."""
        return {"nvidia-modelopt": "compress"}

    def compress(self, exported: Exported, output: Path) -> None:
        """Smooth on training rows, then quantize; see the base class."""
        numbers, rows = calibration_rows(exported, self.calibration_rows)
        algorithm = {"method": "smoothquant", "alpha": self.alpha}
        model = calibrate(exported, rows, "INT8_SMOOTHQUANT_CFG", algorithm)
        write_packed(model, fold_scales(model), exported.folder, output, group_size=None)
        write_decisions(output, calibration_rows=numbers, method="smoothquant", alpha=self.alpha)
