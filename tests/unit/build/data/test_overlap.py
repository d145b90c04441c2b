from pathlib import Path

import pytest

from framework.build.data.overlap import find_overlap
from framework.build.data.shards import SourcedRow, write_shards


def row(text: str, line: int = 1, image: Path | None = None) -> SourcedRow:
    return SourcedRow(text, "x.jsonl", line, image)


def test_equal_rows_are_counted_over_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework.build.data.shards.ROWS_PER_SHARD", 7)
    write_shards(tmp_path, "train", (row(f'{{"text": "{n}"}}', n) for n in range(100)))
    write_shards(tmp_path, "test", (row(f'{{"text": "{n % 150}"}}', n) for n in range(60, 300)))
    overlap = find_overlap(tmp_path)
    assert (overlap.count, overlap.rows) == (
        40 + 100,
        240,
    )  # those from 150 on are 0 to 99 and again 100 to 149
    assert overlap.pairs[0] == "x.jsonl:150 is the same row as x.jsonl:0"
    assert len(overlap.pairs) == 3


def test_an_image_is_its_bytes_and_not_its_name(tmp_path: Path) -> None:
    text = '{"text": "a", "label": "x", "image": "1.png"}'
    for name, content in (("a/1.png", b"one"), ("b/1.png", b"two"), ("b/2.png", b"one")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_shards(tmp_path, "train", [row(text, 1, tmp_path / "a/1.png")])
    write_shards(tmp_path, "test", [row(text, 1, tmp_path / "b/1.png")])
    assert find_overlap(tmp_path).count == 0
    write_shards(tmp_path, "test", [row(text.replace("1.png", "2.png"), 2, tmp_path / "b/2.png")])
    assert find_overlap(tmp_path).pairs == ("x.jsonl:2 is the same row as x.jsonl:1",)
