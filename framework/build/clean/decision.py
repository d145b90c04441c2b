"""What a rule over all rows decides: its columns are written first, then rows stream past its decision."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from framework.build.clean import Decides, Reason, Removal
from framework.build.clean.column_files import write_columns
from framework.build.clean.removals import Removals
from framework.build.data.shards import SourcedRow, in_shards, read_shards


def kept_rows(rule: Decides, rows: Path, removals: Removals, scratch: Path) -> Iterator[SourcedRow]:
    """Yield the training rows that *rule* keeps or rewrites, in order, and record the others.

    Args:
        rule: decides over all rows.
        rows: a folder of shards.
        removals: gets the rows that are removed.
        scratch: the columns are written below it; what a killed step wrote is used again.
    """
    folder = scratch / "columns"
    write_columns(rule, in_shards(read_shards(rows, "train"), lambda row: len(row.text)), folder)
    decided = rule.decide(folder)
    removal: Removal | None = next(decided, None)
    for number, row in enumerate(read_shards(rows, "train")):
        if removal is None or removal.number != number:
            yield row
            continue
        result = rule.result(row, removal)
        removals.add("train", Reason(row, removal.rule, removal.text, result))
        if result is not None:
            yield result
        removal = next(decided, None)
    shutil.rmtree(folder)
