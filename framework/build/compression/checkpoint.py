"""Preconditions of quantized Hugging Face checkpoints, and how their folder is assembled.

Knows folders and layer widths; not how weights are quantized.
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
    """Check that *folder* has no separate adapter.

    Raises:
        StepError: it has one, which would be applied to weights it was not trained on.
    """
    if (folder / ADAPTER).is_dir():
        raise StepError(
            "compression: this method requires merged weights, but the adapter of this model is separate; "
            "set tuning=lora"
        )


def layer_widths(model: Any) -> dict[str, int]:
    """Return the input width of every linear layer except the head, by path.

    Raises:
        StepError: there is none, as in GPT-2, which uses ``Conv1D``.
    """
    import torch

    widths = {
        path: layer.in_features
        for path, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not model.get_output_embeddings()
    }
    if not widths:
        raise StepError(
            f"compression: {type(model).__name__} has no linear layers to quantize; set compression=none"
        )
    return widths


def check_groups(widths: dict[str, int], group_size: int, option: str) -> None:
    """Check that *group_size* divides the input width of every layer.

    Raises:
        StepError: it does not; the message names the largest group size below it that does.
    """
    common = math.gcd(*widths.values())
    path = next((path for path, width in widths.items() if width % group_size), None)
    if path is not None:
        fitting = max(size for size in range(1, min(group_size, common) + 1) if common % size == 0)
        raise StepError(
            f"compression.{option}.group_size: {group_size} does not divide the {widths[path]} inputs of "
            f"{path}; set compression.{option}.group_size={fitting}"
        )


def assemble_checkpoint(exported: Path, written: Path, output: Path, dtype: str) -> None:
    """Copy the weights from *written* and everything else from *exported* to *output*.

    Args:
        exported: the folder that was quantized.
        written: the library's output; its config.json has the quantization config.
        output: the folder of the candidate.
        dtype: the type of the weights that are not quantized.
    """
    for file in sorted(written.glob("*.safetensors*")):
        content = file.read_bytes()
        content = _sort_header(content) if file.suffix == ".safetensors" else content
        (output / file.name).write_bytes(content)
    copy_companions(exported, output)
    quantization = read_json(written, _CONFIG)["quantization_config"]
    config = read_json(output, _CONFIG) | {"quantization_config": quantization, "dtype": dtype}
    (output / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _sort_header(content: bytes) -> bytes:
    """Return a safetensors file with a sorted header: the library's order of the metadata varies."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]
