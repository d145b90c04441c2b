"""A changed model as a Hugging Face folder. It does not know what was changed."""

from pathlib import Path
from typing import Any

from framework.build.export.companion_files import copy_companions


def write_changed(model: Any, folder: Path, output: Path) -> None:
    """Write *model*, which *folder* held before it was changed, with its new config and the old tokenizer."""
    copy_companions(folder, output)
    model.save_pretrained(output)
