"""Cleaning steps on a few rows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from written_rows import written

from framework.build.clean import Clean
from framework.build.data.shards import read_shards
from framework.build.stages.clean import CleanRows
from framework.core.step import Workspace


@dataclass(frozen=True)
class Cleaned:
    """What a cleaning step wrote."""

    folder: Path

    @property
    def summary(self) -> dict[str, dict[str, Any]]:
        """The counts of each split."""
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def removed(self) -> list[dict[str, Any]]:
        """The entries of ``removed.jsonl``."""
        return [json.loads(line) for line in (self.folder / "removed.jsonl").read_text().splitlines()]

    @property
    def gone(self) -> list[int]:
        """The lines of the removed training rows."""
        return [entry["line"] for entry in self.removed]

    @property
    def rules(self) -> dict[int, str]:
        """The rule that removed each line."""
        return {entry["line"]: entry["rule"] for entry in self.removed}

    def rows(self, split: str = "train") -> list[Any]:
        """The rows that are left."""
        return [source.row for source in read_shards(self.folder, split)]

    def texts(self, split: str = "train") -> list[str]:
        """The texts that are left, of documents."""
        return [row["text"] for row in self.rows(split)]


Run = Callable[..., Cleaned]


@pytest.fixture
def clean(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Run one cleaning option on rows; a text is a document."""

    def run(option: Clean, train: Sequence[Any], test: Sequence[Any] = ("held out",)) -> Cleaned:
        number = len([*tmp_path.glob("rows-*")])
        rows = written(tmp_path / f"rows-{number}", train, test)
        output, scratch = tmp_path / f"output-{number}", tmp_path / f"scratch-{number}"
        output.mkdir()
        scratch.mkdir()
        inputs, model = {"rows": rows}, None
        if option.needs_tokenizer:
            inputs["model"], model = (request.getfixturevalue(f"tiny_{name}") for name in ("base", "model"))
        CleanRows(clean=option, option="tested", model=model).run(inputs, output, Workspace(scratch))
        return Cleaned(output)

    return run
