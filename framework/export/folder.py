"""What goes beside the weights of every exported model."""

import shutil
from pathlib import Path

COMPANIONS = (
    "config.json",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
)


def copy_companions(model: Path, output: Path) -> None:
    """Copy tokenizer, chat template and configs from *model*, so that *output* stands alone.

    They replace what an exporter wrote: a served prompt must be tokenised exactly as in training.
    """
    for name in COMPANIONS:
        if (model / name).is_file():
            shutil.copyfile(model / name, output / name)
