"""Write integer weights in the layout of compressed-tensors, for vLLM and transformers.

Knows layers and the layout; not how weights were scaled before. Each weight is rounded to the nearest
multiple of the stored bfloat16 scale.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.compression.checkpoint import assemble_checkpoint
from framework.build.engine.dequantize import COMPRESSED_TENSORS

if TYPE_CHECKING:
    from torch import Tensor

_BY_TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def write_packed(
    model: Any, layers: Mapping[str, Any], exported: Path, output: Path, group_size: int | None
) -> None:
    """Write *model* with integer weights; everything else becomes bfloat16.

    Args:
        model: an open language model.
        layers: the linear layers to quantize, by path.
        exported: the folder of the model.
        output: an empty folder.
        group_size: consecutive weights that share a scale, for 4-bit weights and float activations. None
            for 8-bit weights with one scale per row and 8-bit activations with one scale per token.
    """
    import json

    import torch
    from safetensors.torch import save_file

    stored = _others(model, layers)
    for path, layer in layers.items():
        weight = layer.weight.detach().float()
        stored |= {f"{path}.{name}": tensor for name, tensor in _quantize(weight, group_size).items()}
    linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    config = _quantization_config(group_size, sorted(set(linear) - set(layers)))
    with tempfile.TemporaryDirectory() as scratch:
        save_file(stored, Path(scratch) / "model.safetensors", {"format": "pt"})
        (Path(scratch) / "config.json").write_text(json.dumps({"quantization_config": config}))
        assemble_checkpoint(exported, Path(scratch), output, dtype="bfloat16")


def _others(model: Any, layers: Mapping[str, Any]) -> "dict[str, Tensor]":
    """Return all weights except those of *layers*, in bfloat16; a tied head is stored once."""
    import torch

    head = model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    skipped = {f"{path}.weight" for path in layers}
    skipped |= {f"{path}.weight" for path, module in model.named_modules() if tied and module is head}
    return {
        name: tensor.detach().to(torch.bfloat16).clone().contiguous()
        for name, tensor in model.state_dict().items()
        if name not in skipped and "_quantizer" not in name
    }


def _quantize(weight: "Tensor", group_size: int | None) -> "dict[str, Tensor]":
    """Return the stored tensors of a float32 weight (rows, columns)."""
    import torch

    rows, columns = weight.shape
    most = 127 if group_size is None else 7
    grouped = weight.reshape(rows, -1, group_size or columns)
    scale = (grouped.abs().amax(-1, keepdim=True) / most).clamp(min=1e-8).to(torch.bfloat16)
    values = (grouped / scale.float()).round().clamp(-most - 1, most).to(torch.int32).reshape(rows, columns)
    if group_size is None:
        return {"weight": values.to(torch.int8), "weight_scale": scale[..., 0]}
    packed = torch.zeros(rows, -(-columns // 8), dtype=torch.int32)
    for position in range(8):  # eight columns per word, the first in the lowest bits
        nibbles = values[:, position::8] + 8
        packed[:, : nibbles.shape[1]] |= nibbles << 4 * position
    shape = torch.tensor([rows, columns])
    return {"weight_packed": packed, "weight_scale": scale[..., 0].contiguous(), "weight_shape": shape}


def _quantization_config(group_size: int | None, ignored: list[str]) -> dict[str, Any]:
    four = group_size is not None
    weights: dict[str, Any] = {
        "num_bits": 4 if four else 8,
        "type": "int",
        "symmetric": True,
        "dynamic": False,
    }
    weights |= {"strategy": "group", "group_size": group_size} if four else {"strategy": "channel"}
    weights["dynamic"] = False
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None if four else _BY_TOKEN}
    return {
        "quant_method": COMPRESSED_TENSORS,
        "format": "pack-quantized" if four else "int-quantized",
        "quantization_status": "compressed",
        "ignore": ignored,
        "config_groups": {"group_0": group},
    }
