"""AWQ: 4-bit weights, scaled before they are rounded so that the channels that matter lose least."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows, write_decisions
from framework.build.compression.modelopt import calibrated, fold_scales
from framework.build.compression.packed import write_packed


class Awq(ExportCompression):
    """Activation-aware weight quantization by ModelOpt (Lin et al., 2023, arXiv 2306.00978): W4A16.

    The scales are folded into the layers before, so that the folder is plain 4-bit weights in groups: vLLM
    serves it, transformers opens it with ``compressed-tensors``, and the torch engine gives its very numbers.
    """

    label: ClassVar[str] = "awq"
    tasks: ClassVar[tuple[str, ...]] = ("causal-lm",)
    exports: ClassVar[tuple[str, ...]] = ("torch",)
    plain_weights: ClassVar[bool] = True
    bits: ClassVar[Literal[4, 8, 16]] = 4
    least_share: ClassVar[float] = 0.9

    calibration_rows: Annotated[int, Field(gt=0)] = 64
    """Training rows that show which channels matter, evenly spread over the data."""
    group_size: Annotated[int, Field(ge=2)] = 128
    """Weights in a row that share one scale; it must divide the inputs of every layer. vLLM's kernels take
    32, 64 or 128."""

    def requires(self) -> Mapping[str, str]:
        """Return ModelOpt's distribution."""
        return {"nvidia-modelopt": "compress"}

    def compress(self, exported: Exported, output: Path) -> None:
        """Search the scales on training rows and quantize; see the base class."""
        numbers, rows = calibration_rows(exported.data, self.calibration_rows)
        model = calibrated(exported, rows, "INT4_AWQ_CFG", group_size=self.group_size)
        write_packed(model, fold_scales(model), exported.folder, output, self.group_size)
        write_decisions(output, calibration_rows=numbers, method="awq_lite", group_size=self.group_size)
