"""Rows as the stage ``read`` writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.build.data.rejects import REJECTED
from framework.build.data.shards import SourcedRow, to_json, write_shards, write_summary


def written(folder: Path, train: Sequence[Any], test: Sequence[Any]) -> Path:
    """Write rows as the stage ``read`` does; a text is a document."""
    folder.mkdir()
    summary = {}
    for split, rows in (("train", train), ("test", test)):
        canonical = [{"text": row} if isinstance(row, str) else row for row in rows]
        sourced = [SourcedRow(to_json(row), f"{split}.jsonl", line) for line, row in enumerate(canonical, 1)]
        summary[split] = {**write_shards(folder, split, sourced), "rejected": 0}
    (folder / REJECTED).write_text("")
    write_summary(folder, summary)
    return folder
