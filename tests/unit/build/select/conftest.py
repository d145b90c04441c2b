"""Selecting steps on a few rows."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from written_rows import written

from framework.build.data.shards import read_shards
from framework.build.select import Select
from framework.build.stages.select import SelectRows
from framework.core.step import Workspace

Run = Callable[..., list[int]]


@pytest.fixture
def select(tmp_path: Path) -> Run:
    """Run one selecting option on rows, and return the lines of the rows that it takes."""

    def run(option: Select, train: Sequence[Any], test: Sequence[Any] = ("held out",)) -> list[int]:
        number = len([*tmp_path.glob("rows-*")])
        rows, output = written(tmp_path / f"rows-{number}", train, test), tmp_path / f"output-{number}"
        summary = json.loads((rows / "summary.json").read_text())
        summary["test"]["in_train"] = 0
        (rows / "summary.json").write_text(json.dumps(summary))
        output.mkdir()
        (tmp_path / "scratch").mkdir(exist_ok=True)
        SelectRows.of("tested", option).run({"rows": rows}, output, Workspace(tmp_path / "scratch"))
        left_out = [json.loads(line)["line"] for line in (output / "removed.jsonl").read_text().splitlines()]
        taken = [row.line for row in read_shards(output, "train")]
        assert sorted(taken + left_out) == [*range(1, len(train) + 1)]
        assert [row.row["text"] for row in read_shards(output, "test")] == [*test]
        return taken

    return run
