"""W4A8: group-wise 4-bit weights, and 8-bit activations with one dynamic range per token."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import write_decisions
from framework.build.compression.checkpoint import (
    assemble_checkpoint,
    check_groups,
    check_plain,
    layer_widths,
)
from framework.build.engine.torch import open_model
from framework.core.silence_libraries import quiet


class W4A8(ExportCompression):
    """torchao's ``8da4w`` format, which ExecuTorch runs on phones and ``qat`` can train for.

    transformers opens the folder if torchao is installed. torchao stores each 4-bit weight in one byte until
    a runtime packs it, so files have a quarter of the float32 size. Eager PyTorch is not faster with them.
    """

    label: ClassVar[str] = "w4a8"
    tasks: ClassVar[tuple[str, ...]] = (
        "causal-lm",
        "sequence-classification",
        "multi-label-classification",
        "token-classification",
    )
    exports: ClassVar[tuple[str, ...]] = ("torch",)
    plain_weights: ClassVar[bool] = True
    bits: ClassVar[Literal[4, 8, 16]] = 4

    group_size: Annotated[int, Field(ge=8)] = 32
    """Consecutive weights that share one scale. It must divide the input width of every layer."""

    def requires(self) -> Mapping[str, str]:
        """Return torchao's distribution."""
        return {"torchao": "compress"}

    def compress(self, exported: Exported, output: Path) -> None:
        """Quantize every linear layer except the head; see the base class.

        Raises:
            StepError: as in the base class, or the group size does not divide the inputs of a layer.
        """
        check_plain(exported.folder)
        model = open_model(exported.folder)
        check_groups(layer_widths(model), self.group_size, "w4a8")
        kind = type(model)
        del model
        with tempfile.TemporaryDirectory() as scratch, quiet():
            config = self._config()
            quantized = kind.from_pretrained(exported.folder, dtype="float32", quantization_config=config)
            quantized.save_pretrained(scratch)
            assemble_checkpoint(exported.folder, Path(scratch), output, dtype="float32")
        write_decisions(output, method="8da4w", group_size=self.group_size)

    def _config(self) -> Any:
        import torch
        from torchao.quantization import Int8DynamicActivationIntxWeightConfig
        from torchao.quantization.granularity import PerGroup
        from torchao.quantization.quant_primitives import MappingType
        from transformers import TorchAoConfig

        four_bits: torch.dtype = vars(torch)["int4"]  # missing from torch's type stubs
        return TorchAoConfig(
            Int8DynamicActivationIntxWeightConfig(
                weight_dtype=four_bits,
                weight_granularity=PerGroup(self.group_size),
                # Does not change weights that are on this grid: see ``build.compression.rounding_grid``.
                weight_mapping_type=MappingType.SYMMETRIC_NO_CLIPPING_ERR,
            )
        )
