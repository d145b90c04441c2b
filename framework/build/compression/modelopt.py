"""NVIDIA's ModelOpt on training rows: what its options share.

Knows the calls that search scales and ranges, and how scales become part of the layers before; which numbers,
an option says, and what is written, ``framework.build.compression.packed``.
"""

import copy
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.build.compression import Exported
from framework.build.compression.checkpoint import check_groups, check_plain, layer_widths, take_over
from framework.build.engine.torch import open_model
from framework.core.error_text import first_line
from framework.core.errors import StepError
from framework.core.silence_libraries import quiet

_ALGORITHM = "hf_quant_config.json"


def calibrated(
    exported: Exported,
    rows: Sequence[list[int]],
    preset: str,
    algorithm: dict[str, Any] | None = None,
    group_size: int | None = None,
) -> Any:
    """Return the model in *exported* with ModelOpt's scales, searched on *rows*.

    Args:
        exported: a Hugging Face folder of a language model.
        rows: token ids to calibrate on.
        preset: the name of ModelOpt's configuration, such as ``FP8_DEFAULT_CFG``.
        algorithm: what replaces the preset's own.
        group_size: weights in a row that share one scale; None where the preset has no groups.

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

        chosen: dict[str, Any] = copy.deepcopy(getattr(quantization, preset))
        chosen["algorithm"] = algorithm or chosen["algorithm"]
        for entry in chosen["quant_cfg"]:
            sizes = (entry.get("cfg") or {}).get("block_sizes")
            if sizes and group_size is not None:
                sizes[-1] = group_size

        def read(inner: Any) -> None:
            for row in rows:
                inner(input_ids=torch.tensor([row]))

        try:
            with torch.no_grad():
                quantization.quantize(model, chosen, read)
        except Exception as error:  # ModelOpt has no exceptions of its own
            raise _refused(model, error) from error
    return model


def write_own_layout(model: Any, exported: Exported, output: Path) -> None:
    """Write a calibrated model in ModelOpt's layout, all that is not quantised in bfloat16.

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
            _halve(file)
        take_over(exported.folder, Path(scratch), output, dtype="bfloat16")
        shutil.copyfile(Path(scratch) / _ALGORITHM, output / _ALGORITHM)


def _halve(file: Path) -> None:
    """Make bfloat16 of what ModelOpt has left in float32, but for scales."""
    import torch
    from safetensors.torch import load_file, save_file

    stored = {
        name: part.to(torch.bfloat16) if part.dtype == torch.float32 and not name.endswith("_scale") else part
        for name, part in load_file(file).items()
    }
    save_file(stored, file, {"format": "pt"})


def fold_scales(model: Any) -> dict[str, Any]:
    """Make the scales before the layers part of what comes before them; return the quantised layers by path.

    Layers that share an input share a scale, their mean, which goes into the norm that makes the input.
    That of a layer behind another one goes into its rows; where there is neither, the scale is taken back.
    """
    import torch

    with quiet(), torch.no_grad():
        from modelopt.torch.export import quant_utils
        from modelopt.torch.export.unified_export_hf import collect_shared_input_modules

        linear = ((path, part) for path, part in model.named_modules() if isinstance(part, torch.nn.Linear))
        layers: dict[str, Any] = dict(linear)
        layers = {path: part for path, part in layers.items() if part.weight_quantizer.is_enabled}
        try:
            quant_utils.fuse_prequant_to_linear(model, fuse_grouped_heads=True)
            ids = torch.ones(1, 2, dtype=torch.long)
            shared, norms = collect_shared_input_modules(model, lambda: model(ids), collect_layernorms=True)
            for tensor, parts in shared.items():
                if parts[0].input_quantizer.pre_quant_scale is None:
                    continue
                if norms[tensor] is not None:
                    quant_utils.preprocess_linear_fusion(parts, resmooth_only=True)
                    quant_utils.fuse_prequant_layernorm(norms[tensor], parts)
                else:
                    for part in parts:
                        part.weight.mul_(part.input_quantizer.pre_quant_scale)
        except Exception as error:  # ModelOpt has no exceptions of its own
            raise _refused(model, error) from error
    return layers


def _refused(model: Any, error: Exception) -> StepError:
    return StepError(
        f"ModelOpt cannot quantise {type(model).__name__}: {first_line(error)}; set compression=none"
    )
