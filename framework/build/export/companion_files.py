"""What goes beside the weights of every exported model."""

import shutil
from pathlib import Path

from framework.core.store import RECORD

# Weights of other formats may lie beside those that were tuned, in folders from a hub.
_WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.onnx",
    "*.onnx.data",
    "*.bin",
    "openvino_model.xml",
    RECORD,
)


def copy_companions(model: Path, output: Path) -> None:
    """Copy all but the weights of *model*: tokenizer, chat template and configs; *output* then stands alone.

    They replace what an exporter wrote: a served prompt must be tokenized exactly as in training.
    """
    shutil.copytree(model, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_WEIGHTS))
