"""What goes beside the weights of every exported model."""

import shutil
from pathlib import Path

from framework.core.store import RECORD

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", RECORD)


def copy_companions(model: Path, output: Path) -> None:
    """Copy all but the weights of *model*: tokenizer, chat template and configs; *output* then stands alone.

    They replace what an exporter wrote: a served prompt must be tokenised exactly as in training.
    """
    shutil.copytree(model, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_WEIGHTS))
