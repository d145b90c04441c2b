"""Open a checkpoint that was quantized for vLLM, by ModelOpt or as compressed-tensors, in PyTorch.

Weights become float again with exactly their stored values. Activations are rounded before each layer as
vLLM's kernels round them. It is as slow as float: use it to evaluate a checkpoint, not to serve it. It
knows the layouts of such folders, not how they were made.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.engine.model_folder import read_json
from framework.core.errors import ServeError

if TYPE_CHECKING:
    from torch import Tensor

COMPRESSED_TENSORS = "compressed-tensors"
_METHODS = ("modelopt", COMPRESSED_TENSORS)


def is_quantized(folder: Path) -> bool:
    """Return whether config.json names one of the supported layouts."""
    return _quantization_config(folder).get("quant_method") in _METHODS


def open_quantized(folder: Path) -> Any:
    """Return the folder's model in float32, with weights and activations rounded as they are served.

    Raises:
        ServeError: the folder is incomplete, or transformers does not know the architecture.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    try:
        stored = _read(folder)
        weights, inputs = _dequantized(stored)
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        del config.quantization_config
        kind = getattr(transformers, config.architectures[0])
        model, loading = kind.from_pretrained(
            None, config=config, state_dict=weights, dtype=torch.float32, output_loading_info=True
        )
        if loading["missing_keys"]:
            raise ValueError(f"{sorted(loading['missing_keys'])[0]} is missing")
        by_token = _by_token(_quantization_config(folder))
        for layer in [name.rpartition(".")[0] for name in stored if name.endswith(".weight_scale")]:
            if by_token:
                model.get_submodule(layer).register_forward_pre_hook(_rounded_by_token)
            elif layer in inputs:
                model.get_submodule(layer).register_forward_pre_hook(_rounding(inputs[layer]))
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        first_line = str(error).partition("\n")[0]
        raise ServeError(f"{folder}: cannot be opened as a quantized checkpoint: {first_line}") from error
    return model.eval()


def _quantization_config(folder: Path) -> dict[str, Any]:
    return read_json(folder, "config.json").get("quantization_config") or {}


def _by_token(quantization: dict[str, Any]) -> bool:
    """Return whether activations are rounded to eight bits with a scale for each token."""
    groups = quantization.get("config_groups", {}).values()
    return any((group.get("input_activations") or {}).get("dynamic") for group in groups)


def _read(folder: Path) -> "dict[str, Tensor]":
    from safetensors.torch import load_file

    stored: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        stored |= load_file(file)
    return stored


def _dequantized(
    stored: "dict[str, Tensor]",
) -> "tuple[dict[str, Tensor], dict[str, Tensor]]":
    """Return float32 weights by name, and the scale of each layer's input by the layer's path."""
    weights: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        layer, _, kind = name.rpartition(".")
        if kind == "input_scale":
            inputs[layer] = tensor.float()
        elif kind == "weight_packed":
            values = _unpacked(tensor, stored[f"{layer}.weight_shape"].tolist())
            weights[f"{layer}.weight"] = _scaled(values, stored[f"{layer}.weight_scale"].float())
        elif kind not in ("weight_scale", "weight_shape"):
            scale = stored.get(f"{name}_scale")
            weights[name] = tensor.float() if scale is None else _scaled(tensor, scale.float())
    return weights, inputs


def _unpacked(words: "Tensor", shape: list[int]) -> "Tensor":
    """Unpack 4-bit values (rows, columns), stored plus 8, eight columns a word with the first one lowest."""
    import torch

    rows, columns = shape
    values = torch.stack([words >> 4 * position & 0xF for position in range(8)], 2) - 8
    return values.reshape(rows, -1)[:, :columns]


def _scaled(stored: "Tensor", scale: "Tensor") -> "Tensor":
    """Return *stored* times *scale*, float32 (rows, columns).

    Args:
        stored: integers or 8-bit floats (rows, columns).
        scale: of the whole weight (), or of groups in its rows (rows, groups).
    """
    if scale.ndim == 2:
        scale = scale.repeat_interleave(stored.shape[1] // scale.shape[1], 1)
    return stored.float() * scale


def _rounding(step: "Tensor") -> Callable[..., Any]:
    """Return a hook that rounds a layer's input to 8-bit floats with the scale *step*, as kernels do."""
    import torch

    def prepare(module: Any, args: Any) -> Any:
        hidden, *rest = args
        hidden = (hidden / step).clamp(-448, 448).to(torch.float8_e4m3fn).float() * step
        return hidden, *rest

    return prepare


def _rounded_by_token(module: Any, args: Any) -> Any:
    """Round a layer's input to 8-bit integers, with a scale for each token."""
    hidden, *rest = args
    step = hidden.abs().amax(-1, keepdim=True).clamp(min=1e-8) / 127
    return (hidden / step).round().clamp(-128, 127) * step, *rest
