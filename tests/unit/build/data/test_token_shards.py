from pathlib import Path

import numpy as np
import pytest
import torch

from framework.build.data.token_shards import TokenRows, write_tokens


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven rows in three shards: ids, one label, and pixels that one row lacks."""
    for number, rows in enumerate((range(3), range(3, 4), range(4, 7))):
        write_tokens(
            tmp_path / f"{number:05}.safetensors",
            [
                (
                    np.arange(row + 1, dtype=np.int32),
                    np.array([-row], dtype=np.int32),
                    np.full(row % 5, 255, dtype=np.uint8),
                )
                for row in rows
            ],
        )
    return tmp_path


def test_rows_are_the_same_one_by_one_and_together(folder: Path) -> None:
    rows = TokenRows(folder)
    assert len(rows) == 7
    for number, row in enumerate(rows):
        ids, label, pixels = row
        assert ids.tolist() == list(range(number + 1))
        assert label.tolist() == [-number]
        assert pixels.tolist() == [255] * (number % 5)
        assert (ids.dtype, label.dtype, pixels.dtype) == (torch.int64, torch.int64, torch.uint8)
        assert all(torch.equal(one, other) for one, other in zip(row, rows[number], strict=True))


def test_slices_are_views(folder: Path) -> None:
    rows = TokenRows(folder)
    assert [row[1].item() for row in rows[2:5]] == [-2, -3, -4]
    assert [row[1].item() for row in rows[:5][1::3]] == [-1, -4]
    assert rows[-1][1].item() == -6
    assert isinstance(rows[:2], TokenRows)
    assert not rows[7:]
    with pytest.raises(IndexError):
        rows[7]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TokenRows(tmp_path / "train")
