"""Copy a model's companion files: tokenizer, chat template and configs."""

import shutil
from pathlib import Path

from framework.core.store import RECORD

# A folder from a hub may have weights in other formats too.
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
    """Copy every file of *model* except weights to *output*, which then is a complete model folder.

    The files replace those of an exporter: a served prompt must be tokenized exactly as in training.
    """
    shutil.copytree(model, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_WEIGHTS))
