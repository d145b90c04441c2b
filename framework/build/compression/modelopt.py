"""Calibrate a language model with NVIDIA ModelOpt; shared by the options that use it.

Knows the calls that search scales and ranges, and how to fold scales into preceding layers. The option
chooses the number format; ``framework.build.compression.packed`` writes integer weights.
"""

import copy
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.build.compression import Exported
from framework.build.compression.checkpoint import (
    assemble_checkpoint,
    check_groups,
    check_plain,
    layer_widths,
)
from framework.build.engine.torch import open_model
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

_ALGORITHM = "hf_quant_config.json"


def calibrate(
    exported: Exported,
    rows: Sequence[list[int]],
    preset: str,
    algorithm: dict[str, Any] | None = None,
    group_size: int | None = None,
) -> Any:
    """Return the model in *exported* with ModelOpt's scales, calibrated on *rows*.

    Args:
        exported: a Hugging Face folder of a language model.
        rows: token ids to calibrate on.
        preset: the name of ModelOpt's configuration, such as ``FP8_DEFAULT_CFG``.
        algorithm: replaces the algorithm of the preset.
        group_size: consecutive weights that share one scale; None for a preset without groups.

    Raises:
        StepError: the group size does not divide a layer, or ModelOpt cannot express the model.
    """
    check_plain(exported.folder)
    model = open_model(exported.folder)
    widths = layer_widths(model)
    if group_size is not None:
        check_groups(widths, group_size, "awq")
    with quiet():
        import modelopt.torch.quantization as quantization
        import torch

        settings: dict[str, Any] = copy.deepcopy(getattr(quantization, preset))
        settings["algorithm"] = algorithm or settings["algorithm"]
        for entry in settings["quant_cfg"]:
            sizes = (entry.get("cfg") or {}).get("block_sizes")
            if sizes and group_size is not None:
                sizes[-1] = group_size

        def run_rows(quantized: Any) -> None:
            for row in rows:
                quantized(input_ids=torch.tensor([row]))

        try:
            with torch.no_grad():
                quantization.quantize(model, settings, run_rows)
        except Exception as error:  # ModelOpt has no exceptions of its own
            raise _refused(model, error) from error
    return model


def write_modelopt_layout(model: Any, exported: Exported, output: Path) -> None:
    """Write a calibrated model in ModelOpt's layout; weights that are not quantized become bfloat16.

    Raises:
        StepError: ModelOpt cannot express the model.
    """
    import torch

    with tempfile.TemporaryDirectory() as scratch, quiet():
        from modelopt.torch.export import export_hf_checkpoint

        try:
            export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=scratch)
        except Exception as error:  # ModelOpt has no exceptions of its own
            raise _refused(model, error) from error
        for file in Path(scratch).glob("*.safetensors"):
            _cast_to_bfloat16(file)
        assemble_checkpoint(exported.folder, Path(scratch), output, dtype="bfloat16")
        shutil.copyfile(Path(scratch) / _ALGORITHM, output / _ALGORITHM)


def _cast_to_bfloat16(file: Path) -> None:
    """Cast the tensors that ModelOpt left in float32 to bfloat16, except scales."""
    import torch
    from safetensors.torch import load_file, save_file

    stored = {
        name: tensor.to(torch.bfloat16)
        if tensor.dtype == torch.float32 and not name.endswith("_scale")
        else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(stored, file, {"format": "pt"})


def fold_scales(model: Any) -> dict[str, Any]:
    """Fold the input scales into the preceding layers; return the quantized layers by path.

    Layers with the same input share a scale, the mean of theirs, which is folded into the norm that produces
    the input. A scale behind a linear layer is folded into that layer's rows. Without either, the scale is
    undone.
    """
    import torch

    with quiet(), torch.no_grad():
        from modelopt.torch.export import quant_utils
        from modelopt.torch.export.unified_export_hf import collect_shared_input_modules

        linear = (pair for pair in model.named_modules() if isinstance(pair[1], torch.nn.Linear))
        layers: dict[str, Any] = dict(linear)
        layers = {path: layer for path, layer in layers.items() if layer.weight_quantizer.is_enabled}
        try:
            quant_utils.fuse_prequant_to_linear(model, fuse_grouped_heads=True)
            ids = torch.ones(1, 2, dtype=torch.long)
            shared, norms = collect_shared_input_modules(model, lambda: model(ids), collect_layernorms=True)
            for tensor, readers in shared.items():
                if readers[0].input_quantizer.pre_quant_scale is None:
                    continue
                if norms[tensor] is not None:
                    quant_utils.preprocess_linear_fusion(readers, resmooth_only=True)
                    quant_utils.fuse_prequant_layernorm(norms[tensor], readers)
                else:
                    for reader in readers:
                        reader.weight.mul_(reader.input_quantizer.pre_quant_scale)
        except Exception as error:  # ModelOpt has no exceptions of its own
            raise _refused(model, error) from error
    return layers


def _refused(model: Any, error: Exception) -> StepError:
    first_line = str(error).partition("\n")[0] or type(error).__name__
    return StepError(f"ModelOpt cannot quantize {type(model).__name__}: {first_line}; set compression=none")
