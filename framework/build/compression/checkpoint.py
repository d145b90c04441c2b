"""Quantized Hugging Face checkpoints: what is asked of a model first, and how its folder is put together.

Knows folders and widths of layers; not how weights are quantized.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

from framework.build.engine.model_folder import ADAPTER, read_json
from framework.build.export.companion_files import copy_companions
from framework.core.errors import StepError

_CONFIG = "config.json"


def check_plain(folder: Path) -> None:
    """Check that *folder* has no adapter beside its weights.

    Raises:
        StepError: it has one, which would go on as it is, upon weights that have changed.
    """
    if (folder / ADAPTER).is_dir():
        raise StepError(
            "compression: this method changes plain weights, and this folder keeps an adapter beside them; "
            "set tuning=lora"
        )


def layer_widths(model: Any) -> dict[str, int]:
    """Return the number of inputs of every linear layer but the head, by its path.

    Raises:
        StepError: there is none, as in GPT-2, whose layers are of another kind.
    """
    import torch

    widths = {
        path: layer.in_features
        for path, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not model.get_output_embeddings()
    }
    if not widths:
        raise StepError(
            f"compression: {type(model).__name__} has no linear layers, which this method quantizes; "
            "set compression=none"
        )
    return widths


def check_groups(widths: dict[str, int], group_size: int, option: str) -> None:
    """Check that *group_size* divides the inputs of every layer.

    Raises:
        StepError: it does not; names the largest that does and is no larger.
    """
    common = math.gcd(*widths.values())
    path = next((path for path, width in widths.items() if width % group_size), None)
    if path is not None:
        fitting = max(size for size in range(1, min(group_size, common) + 1) if common % size == 0)
        raise StepError(
            f"compression={option}: groups of {group_size} do not divide the {widths[path]} inputs of "
            f"{path}; set compression.{option}.group_size={fitting}"
        )


def take_over(exported: Path, written: Path, output: Path, dtype: str) -> None:
    """Put weights from *written* and all else from *exported* into *output*.

    Args:
        exported: the folder that was quantized.
        written: what the library saved; config.json there says how the weights are stored.
        output: the folder of the candidate.
        dtype: the type of what is not quantized.
    """
    for file in sorted(written.glob("*.safetensors*")):
        whole = file.read_bytes()
        (output / file.name).write_bytes(_ordered(whole) if file.suffix == ".safetensors" else whole)
    copy_companions(exported, output)
    said = read_json(written, _CONFIG)["quantization_config"]
    config = read_json(output, _CONFIG) | {"quantization_config": said, "dtype": dtype}
    (output / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _ordered(whole: bytes) -> bytes:
    """Return a safetensors file's bytes with its header sorted: the library writes one part in any order."""
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.dumps(json.loads(whole[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + whole[8 + length :]
