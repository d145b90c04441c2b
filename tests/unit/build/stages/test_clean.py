"""The bundled recipe on dirty rows, built in a real store; and what a stopped or wrong step leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
from written_rows import written

from framework.build.clean import CorpusClean, RowClean
from framework.build.clean.column_files import write_columns
from framework.build.data.shards import read_shards, read_summary
from framework.build.stages.clean import CleanRows
from framework.core.errors import DataError
from framework.core.step import Workspace
from framework.core.store import Store
from framework.plan.build import Plan

DATA = Path(__file__).parents[4] / "recipes" / "data" / "tiny"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def clean_rows(tmp_path: Path):
    """Write texts as the stage ``read`` does; return the folder. The test rows are two."""
    return lambda texts: written(tmp_path / f"rows-{len([*tmp_path.iterdir()])}", texts, ["x", "y"])


def built(plan: Plan, store: Store) -> dict[str, Path]:
    """Build the data steps; return the folder of each by label."""
    data = plan.step("encode")
    return {step.label: store.build(step) for step in data.walk()}


def test_dirty_rows_come_out_as_the_clean_ones(plan, store: Store) -> None:
    folders = built(plan("+recipe=tiny-clean"), store)
    done = {
        label.removeprefix("clean "): {**counts["removed_by"], **counts["rewritten_by"]}
        for label, folder in folders.items()
        if label.startswith("clean")
        for counts in [read_summary(folder)["train"]]
    }
    assert done == {
        "normalize": {"normalize": 1},
        "heuristics": {"phrase": 1},
        "exact": {"exact": 4},
        "near": {"near": 1},
        "pii": {"pii_email": 1, "pii_phone": 1},
        "decontaminate": {"decontaminate": 1},
    }
    rows = [row.row["messages"] for row in read_shards(folders["encode"], "train")]
    clean = [json.loads(line)["messages"] for line in (DATA / "train.jsonl").read_text().splitlines()]
    assert rows[: len(clean)] == clean
    assert [turns[0]["content"][:30] for turns in rows[len(clean) :]] == [
        "Last night, as I lay awake in ",
        "Is 12 even or odd? Write to [E",
    ]
    places = [(row.file.rpartition("/")[2], row.line) for row in read_shards(folders["encode"], "train")]
    assert places[-1] == ("raw-train.jsonl", 39)  # where it was read, after six steps
    assert len([*read_shards(folders["encode"], "test")]) == 8


def test_plan_without_cleaning_has_the_same_keys_as_before(plan) -> None:
    """A changed key would build every store of every user again."""
    steps = {step.label: step for step in plan("+recipe=tiny").steps}
    assert [*steps["encode"].needs] == ["rows", "model"]
    assert steps["encode"].needs["rows"] is steps["read"]


def test_rule_that_removes_too_much_stops_and_names_the_key(plan, store: Store) -> None:
    changed = plan("+recipe=tiny-clean", "clean.heuristics.min_words=5")
    with pytest.raises(DataError) as caught:
        built(changed, store)
    assert "clean.heuristics removed 41 of 41 training rows (phrase 1, word_count 40)" in str(caught.value)
    assert [folder for folder in (store.root / "clean").glob("*") if ".building" not in folder.name] == [
        store.folder(changed.step("clean normalize"))
    ]
    allowed = plan("+recipe=tiny-clean")
    folder = built(allowed, store)["clean exact"]
    stricter = plan("+recipe=tiny-clean", "clean.exact.max_removed=0.05").step("clean exact")
    assert stricter.key == allowed.step("clean exact").key
    with pytest.raises(DataError, match=r"clean\.exact\.max_removed=0\.05"):
        stricter.stage.accept(folder)


class Counted(CorpusClean):
    """Counts the rows of each batch, and fails on a row that says so."""

    def columns(self, batch):
        if any("fail" in row.text for row in batch):
            raise DataError("stopped")
        return {"rows": np.full(len(batch), len(batch))}

    def decide(self, folder):
        yield from ()


def test_columns_go_on_after_the_last_finished_shard(clean_rows, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    def write(*texts: str) -> None:
        rows = [*read_shards(clean_rows(texts), "train")]
        write_columns(Counted(), [rows[:2], rows[2:4], rows[4:]], tmp_path / "columns")

    with pytest.raises(DataError):
        write("a", "b", "c", "d", "fail")
    left = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "columns").iterdir()}
    assert sorted(left) == ["00000.parquet", "00001.parquet"]
    (tmp_path / "columns" / "00002.part").write_bytes(b"half a file")
    write("a", "b", "c", "d", "e")
    now = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "columns").iterdir()}
    assert {name: now[name] for name in left} == left
    table = pq.read_table(tmp_path / "columns" / "00002.parquet").to_pydict()
    assert table == {"number": [4], "file": ["train.jsonl"], "line": [5], "rows": [1]}


class DropsTestRows(RowClean):
    """A plugin's mistake."""

    def apply(self, batch):
        return list(batch[1:]), []

    def for_test_rows(self):
        return self


def test_rule_that_removes_test_rows_is_refused(clean_rows, tmp_path: Path) -> None:
    stage, inputs = CleanRows(clean=DropsTestRows(), option="drops"), {"rows": clean_rows(["a", "b"])}
    (tmp_path / "output").mkdir()
    with pytest.raises(DataError, match="changed the number of test rows from 2 to 1"):
        stage.run(inputs, tmp_path / "output", Workspace(tmp_path))
