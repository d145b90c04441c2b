"""Parquet and Arrow, read as users read them: through ``Files``."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from framework.build.data import Line
from framework.build.data.files import Files
from framework.core.errors import DataError

Write = Callable[[str, str | bytes], str]


def read(path: str) -> list[Line]:
    return list(Files.model_validate({"train": path, "test_fraction": 0}).read("train"))


def test_parquet_rows_are_read_in_order(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"messages": [{"role": "user", "content": str(n)}], "text": None} for n in range(3000)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=700)
    lines = read(str(tmp_path / "x.parquet"))
    assert [line.number for line in lines] == list(range(1, 3001))
    assert [line.raw for line in lines] == rows


@pytest.mark.parametrize("form", ["new_stream", "new_file"])
def test_arrow_rows_are_read_in_order(form: str, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"prompt": f"p{n}", "completion": "c"} for n in range(2500)]
    batches = pyarrow.Table.from_pylist(rows).to_batches(max_chunksize=1700)
    with getattr(pyarrow.ipc, form)(tmp_path / "x.arrow", batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    lines = read(str(tmp_path / "x.arrow"))
    assert [line.raw for line in lines] == rows
    assert [line.number for line in lines] == list(range(1, 2501))


def test_half_an_arrow_file_is_rejected_after_its_whole_batches(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    batch = pyarrow.RecordBatch.from_pylist([{"text": "a"} for _ in range(2000)])
    file = tmp_path / "x.arrow"
    with pyarrow.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    file.write_bytes(file.read_bytes()[:-2500])
    with pytest.raises(DataError, match=r"x\.arrow:2001: not a complete Arrow file"):
        read(str(file))


def test_a_file_that_is_not_parquet_is_rejected(write: Write) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"x\.parquet:1: not a complete Parquet file"):
        read(write("x.parquet", "hello"))


def test_a_missing_pyarrow_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"x\.parquet: reading Parquet needs pyarrow; `pip install pyarrow`"):
        read(write("x.parquet", "hello"))
