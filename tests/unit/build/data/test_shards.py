import json
from pathlib import Path

import pytest

from framework.build.data import shards
from framework.build.data.shards import SourcedRow, read_row, read_shards, write_shards


def rows(count: int) -> list[SourcedRow]:
    return [SourcedRow(json.dumps({"text": f"row {n}\u2028"}), f"{n % 2}.csv", n + 2) for n in range(count)]


def test_rows_and_origins_survive_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 3)
    written = write_shards(tmp_path / "read", "train", iter(rows(8)))
    assert written["rows"] == 8
    assert len(list((tmp_path / "read" / "train").iterdir())) == 3
    assert list(read_shards(tmp_path / "read", "train")) == rows(8)
    # A cleaning step: it keeps some rows, and knows where each was read.
    kept = (row for row in read_shards(tmp_path / "read", "train") if row.file == "1.csv")
    write_shards(tmp_path / "clean", "train", kept)
    assert list(read_shards(tmp_path / "clean", "train")) == rows(8)[1::2]


def test_a_shard_ends_at_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BYTES_PER_SHARD", 2 * len(rows(1)[0].text))
    write_shards(tmp_path, "test", rows(5))
    assert [len(file.read_text().splitlines()) for file in sorted((tmp_path / "test").iterdir())] == [2, 2, 1]


def test_the_digest_ignores_where_shards_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = write_shards(tmp_path / "whole", "train", rows(9))
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 2)
    assert write_shards(tmp_path / "split", "train", rows(9)) == whole


def test_one_row_is_found_across_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 4)
    write_shards(tmp_path, "train", rows(9))
    assert [read_row(tmp_path / "train", n) for n in (0, 4, 8)] == [rows(9)[n].text for n in (0, 4, 8)]
    assert read_row(tmp_path / "train", 9) == ""


def test_images_travel_by_their_content(tmp_path: Path) -> None:
    for name, content in (("a.PNG", b"one"), ("b.png", b"one"), ("c.png", b"two")):
        (tmp_path / name).write_bytes(content)
    pictured = [
        SourcedRow(json.dumps({"text": "x", "image": name}), "rows.jsonl", 1, tmp_path / name)
        for name in ("a.PNG", "b.png", "c.png")
    ]
    write_shards(tmp_path / "read", "train", pictured)
    write_shards(tmp_path / "clean", "train", read_shards(tmp_path / "read", "train"))
    (tmp_path / "a.PNG").write_bytes(b"changed in place")
    copied = [row.image for row in read_shards(tmp_path / "clean", "train")]
    assert [image.read_bytes() for image in copied if image] == [b"one", b"one", b"two"]
    assert len(list((tmp_path / "clean" / "images").iterdir())) == 2
