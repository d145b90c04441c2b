"""Checkpoints that ModelOpt quantised, as PyTorch runs them without its kernels: every number is theirs.

Weights become float again, exactly the values that were written; activations are scaled and rounded in front
of each layer as the kernels of vLLM or TensorRT-LLM round them. It is as slow as float: it judges a
checkpoint, it does not serve it. Knows the layout of such a folder; not how it was made.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.core.errors import ServeError
from framework.engine.folder import read_json

if TYPE_CHECKING:
    from torch import Tensor

_METHOD = "modelopt"


def is_quantised(folder: Path) -> bool:
    """Tell whether config.json says that ModelOpt wrote the weights."""
    said = read_json(folder, "config.json").get("quantization_config") or {}
    return bool(said.get("quant_method") == _METHOD)


def open_quantised(folder: Path) -> Any:
    """Return the folder's model in float32, with weights and activations rounded as they are served.

    Raises:
        ServeError: the folder is not whole, or of an architecture that transformers does not know.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    try:
        stored = _read(folder)
        weights, inputs = _dequantised(stored)
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        del config.quantization_config
        kind = getattr(transformers, config.architectures[0])
        model, told = kind.from_pretrained(
            None, config=config, state_dict=weights, dtype=torch.float32, output_loading_info=True
        )
        if told["missing_keys"]:
            raise ValueError(f"{sorted(told['missing_keys'])[0]} is missing")
        for layer, scales in inputs.items():
            eight_bit_float = stored[f"{layer}.weight"].dtype == torch.float8_e4m3fn
            model.get_submodule(layer).register_forward_pre_hook(_rounding(scales, eight_bit_float))
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        first_line = str(error).partition("\n")[0]
        raise ServeError(f"{folder}: cannot be opened as ModelOpt's checkpoint: {first_line}") from error
    return model.eval()


def _read(folder: Path) -> "dict[str, Tensor]":
    from safetensors.torch import load_file

    stored: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        stored |= load_file(file)
    return stored


def _dequantised(
    stored: "dict[str, Tensor]",
) -> "tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]":
    """Return float32 weights by name, and the scales of each layer's input by the layer's path."""
    weights: dict[str, Tensor] = {}
    inputs: dict[str, dict[str, Tensor]] = {}
    for name, part in stored.items():
        layer, _, kind = name.rpartition(".")
        if kind in ("input_scale", "pre_quant_scale"):
            inputs.setdefault(layer, {})[kind] = part.float()
        elif kind != "weight_scale":
            scale = stored.get(f"{name}_scale")
            weights[name] = part.float() if scale is None else _scaled(part, scale.float())
    return weights, inputs


def _scaled(part: "Tensor", scale: "Tensor") -> "Tensor":
    """Return float32 (rows, columns) of a quantised weight.

    Args:
        part: 8-bit values (rows, columns), or uint8 (rows / 2, columns) with an even row's four bits below
            those of the odd row that follows.
        scale: of the whole weight (), of its rows (rows,), or of groups in its rows (rows, groups).
    """
    import torch

    if part.dtype == torch.uint8:
        both = torch.stack([part & 0x0F, part >> 4], 1).reshape(-1, part.shape[1]).to(torch.int8)
        part = torch.where(both > 7, both - 16, both)
    if scale.ndim == 2:
        scale = scale.repeat_interleave(part.shape[1] // scale.shape[1], 1)
    elif scale.ndim == 1:
        scale = scale[:, None]
    return part.float() * scale


def _rounding(scales: "dict[str, Tensor]", eight_bit_float: bool) -> Callable[..., Any]:
    """Return a hook that does to a layer's input what the kernels do before they multiply."""
    import torch

    before, step = scales.get("pre_quant_scale"), scales.get("input_scale")

    def prepare(module: Any, args: Any) -> Any:
        given, *rest = args
        if before is not None:
            given = given * before
        if step is not None and eight_bit_float:
            given = (given / step).clamp(-448, 448).to(torch.float8_e4m3fn).float() * step
        elif step is not None:
            given = (given / step).round().clamp(-128, 127) * step
        return given, *rest

    return prepare
