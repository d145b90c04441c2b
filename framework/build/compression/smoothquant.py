"""SmoothQuant: int8 weights and activations, after the outliers of activations moved into the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.modelopt import calibrated, fold_scales
from framework.build.compression.packed import write_packed


class SmoothQuant(ExportCompression):
    """SmoothQuant by ModelOpt (Xiao et al., 2022, arXiv 2211.10438): W8A8.

    Weights have one scale an output channel, activations one a token, measured as they come. The smoothing
    is folded into the layers before: vLLM serves the folder, transformers opens it with
    ``compressed-tensors``, and the torch engine gives its very numbers.
    """

    label: ClassVar[str] = "smoothquant"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    exports: ClassVar[tuple[str, ...]] = ("torch",)
    plain_weights: ClassVar[bool] = True
    bits: ClassVar[Literal[4, 8, 16]] = 8
    least_share: ClassVar[float] = 0.9

    calibration_rows: Annotated[int, Field(gt=0)] = 64
    """Training rows that show the ranges of activations, evenly spread over the data."""
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much of the outliers moves into the weights: 0 none, 1 all of it."""

    def requires(self) -> Mapping[str, str]:
        """Return ModelOpt's distribution."""
        return {"nvidia-modelopt": "compress"}

    def compress(self, exported: Exported, output: Path) -> None:
        """Smooth by what training rows show, then quantize; see the base class."""
        numbers, rows = calibration_rows(exported.data, self.calibration_rows)
        algorithm = {"method": "smoothquant", "alpha": self.alpha}
        model = calibrated(exported, rows, "INT8_SMOOTHQUANT_CFG", algorithm)
        write_packed(model, fold_scales(model), exported.folder, output, group_size=None)
        write_decisions(output, calibration_rows=numbers, method="smoothquant", alpha=self.alpha)
