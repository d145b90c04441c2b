"""The files of a log."""

from datetime import UTC, datetime

import pytest

from framework.core.errors import DataError, SourceError
from framework.requestlog.log_folder import LogFolder

ROW = {"id": "a", "time": datetime(2026, 1, 2, tzinfo=UTC), "answer": "yes", "prompt_tokens": 3}


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_rows_come_back_in_the_order_of_writing(scheme, tmp_path):
    folder = LogFolder(f"{scheme}{tmp_path}/log")
    for number in range(3):
        folder.write("requests", [ROW | {"id": f"{number}"}, ROW | {"id": f"{number}b", "score": 0.5}])
    rows = [row for _, _, row in folder.read("requests")]
    assert [row["id"] for row in rows] == ["0", "0b", "1", "1b", "2", "2b"]
    assert {key: rows[0][key] for key in ROW} == ROW | {"id": "0"}
    assert (rows[0]["score"], rows[1]["score"]) == (None, 0.5)
    assert list(folder.read("feedback")) == []


def test_old_files_and_the_oldest_beyond_the_size_go(tmp_path):
    folder = LogFolder(str(tmp_path))
    names = [folder.write("requests", [ROW]) for _ in range(4)]
    old = tmp_path / "requests" / f"20200101T000000000000-{'0' * 8}.parquet"
    (tmp_path / "requests" / names[0]).rename(old)
    (tmp_path / "requests" / "notes.txt").write_text("not a part of the log")
    assert folder.prune(keep_days=30, most_bytes=2**30) == 1
    assert not old.exists()
    sizes = [size for _, size in folder.files("requests")]
    assert folder.prune(keep_days=30, most_bytes=sum(sizes) - 1) == 1
    assert [path.rpartition("/")[2] for path, _ in folder.files("requests")] == names[2:]
    assert (tmp_path / "requests" / "notes.txt").exists()


def test_what_is_no_log_is_named(tmp_path):
    with pytest.raises(SourceError, match="no request log"):
        list(LogFolder(str(tmp_path)).read("requests"))
    with pytest.raises(SourceError, match="nope"):
        LogFolder("nope://x")
    name = LogFolder(str(tmp_path)).write("requests", [ROW])
    (tmp_path / "requests" / name).write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match=name):
        list(LogFolder(str(tmp_path)).read("requests"))
