"""Save a changed model as a Hugging Face folder. Does not know what was changed."""

from pathlib import Path
from typing import Any

from framework.build.export.companion_files import copy_companions


def save_changed(model: Any, folder: Path, output: Path) -> None:
    """Write *model* to *output* with its current config, and the tokenizer of *folder*, its origin."""
    copy_companions(folder, output)
    model.save_pretrained(output)
