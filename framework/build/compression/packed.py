"""Integer weights in the layout of compressed-tensors, which vLLM and transformers open.

Knows a model's layers and the layout; not how scales were chosen. Weights are rounded to the nearest step
of the scale that is written, in bfloat16.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.build.compression.checkpoint import take_over
from framework.build.engine.dequantize import COMPRESSED_TENSORS

if TYPE_CHECKING:
    from torch import Tensor

_BY_TOKEN = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}


def write_packed(
    model: Any, layers: Mapping[str, Any], exported: Path, output: Path, group_size: int | None
) -> None:
    """Write *model* with integer weights, all else in bfloat16.

    Args:
        model: an open language model.
        layers: its linear layers that are quantized, by path.
        exported: the folder it came from.
        output: an empty folder.
        group_size: weights in a row that share a scale, for 4-bit weights and float activations; None for
            8-bit weights with one scale a row, and 8-bit activations with one a token.
    """
    import json

    import torch
    from safetensors.torch import save_file

    stored = _others(model, layers)
    for path, layer in layers.items():
        weight = layer.weight.detach().float()
        stored |= {f"{path}.{name}": part for name, part in _quantized(weight, group_size).items()}
    linear = [path for path, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    described = _described(group_size, sorted(set(linear) - set(layers)))
    with tempfile.TemporaryDirectory() as scratch:
        save_file(stored, Path(scratch) / "model.safetensors", {"format": "pt"})
        (Path(scratch) / "config.json").write_text(json.dumps({"quantization_config": described}))
        take_over(exported, Path(scratch), output, dtype="bfloat16")


def _others(model: Any, layers: Mapping[str, Any]) -> "dict[str, Tensor]":
    """Return all but the weights of *layers*, in bfloat16; a head that is the embedding stands once."""
    import torch

    head = model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    skipped = {f"{path}.weight" for path in layers}
    skipped |= {f"{path}.weight" for path, part in model.named_modules() if tied and part is head}
    return {
        name: part.detach().to(torch.bfloat16).clone().contiguous()
        for name, part in model.state_dict().items()
        if name not in skipped and "_quantizer" not in name
    }


def _quantized(weight: "Tensor", group_size: int | None) -> "dict[str, Tensor]":
    """Return the tensors that stand for a float32 weight (rows, columns)."""
    import torch

    rows, columns = weight.shape
    most = 127 if group_size is None else 7
    grouped = weight.reshape(rows, -1, group_size or columns)
    scale = (grouped.abs().amax(-1, keepdim=True) / most).clamp(min=1e-8).to(torch.bfloat16)
    values = (grouped / scale.float()).round().clamp(-most - 1, most).to(torch.int32).reshape(rows, columns)
    if group_size is None:
        return {"weight": values.to(torch.int8), "weight_scale": scale[..., 0]}
    packed = torch.zeros(rows, -(-columns // 8), dtype=torch.int32)
    for place in range(8):  # eight columns to a word, the first one lowest
        part = values[:, place::8] + 8
        packed[:, : part.shape[1]] |= part << 4 * place
    shape = torch.tensor([rows, columns])
    return {"weight_packed": packed, "weight_scale": scale[..., 0].contiguous(), "weight_shape": shape}


def _described(group_size: int | None, ignored: list[str]) -> dict[str, Any]:
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
