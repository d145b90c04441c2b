import json
import threading
from pathlib import Path

import pytest
import torch

from framework.build.training import checkpoints
from framework.build.training.checkpoints import CheckpointFiles, damage, latest, snapshot


def write(folder: Path, *steps: int, keep: int = 9) -> CheckpointFiles:
    files = CheckpointFiles(folder, keep)
    for step in steps:
        files.save_checkpoint(
            {"step": step, "weight": torch.full((1000,), float(step))}, files.unfinished(step)
        )
    files.wait()
    return files


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_last_checkpoints_are_kept(tmp_path: Path) -> None:
    write(tmp_path, 10, 20, 30, 100, keep=2)
    assert names(tmp_path) == ["step-000000030.ckpt", "step-000000100.ckpt"]
    newest = latest(tmp_path)
    assert newest == tmp_path / "step-000000100.ckpt"
    assert CheckpointFiles(tmp_path, 2).load_checkpoint(newest)["step"] == 100


def test_thread_writes_a_snapshot_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, save = threading.Event(), torch.save
    monkeypatch.setattr(checkpoints.torch, "save", lambda *arguments: may_write.wait(60) and save(*arguments))
    files, weight, curve = CheckpointFiles(tmp_path, 2), torch.zeros(3), [{"loss": 1.0}]
    files.save_checkpoint({"weight": weight, "curve": curve}, files.unfinished(1))
    weight += 1  # the next step
    curve.append({"loss": 0.5})
    assert latest(tmp_path.parent / "elsewhere") is None
    assert not list(tmp_path.glob("*.ckpt"))
    may_write.set()
    files.wait()
    checkpoint = files.load_checkpoint(tmp_path / "step-000000001.ckpt")
    assert checkpoint["weight"].tolist() == [0, 0, 0]
    assert checkpoint["curve"] == [{"loss": 1.0}]


def test_thread_error_is_raised_once_in_training(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path / "gone", 2)
    files.save_checkpoint({"step": 1}, files.unfinished(1))
    with pytest.raises(FileNotFoundError):
        files.wait()
    files.check()
    (tmp_path / "gone").mkdir()
    files.save_checkpoint({"step": 2}, files.unfinished(2))
    files.wait()
    assert names(tmp_path / "gone") == ["step-000000002.ckpt"]


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[content.index(torch.full((9,), 30.0).numpy().tobytes()) + 17] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage_file", [truncate, empty, flip])
def test_damaged_checkpoint_is_skipped(tmp_path: Path, damage_file) -> None:
    write(tmp_path, 20, 30)
    damage_file(tmp_path / "step-000000030.ckpt")
    reported: list[str] = []
    assert latest(tmp_path, reported.append) == tmp_path / "step-000000020.ckpt"
    assert len(reported) == 1
    assert "step 30 is damaged (" in reported[0]
    assert names(tmp_path) == ["step-000000020.ckpt"]  # otherwise it would stay the newest


def test_unfinished_checkpoints_are_removed(tmp_path: Path) -> None:
    write(tmp_path, 20)
    (tmp_path / "step-000000030.new").write_bytes(b"half")
    (tmp_path / "step-000000040.new").mkdir()
    assert latest(tmp_path) == tmp_path / "step-000000020.ckpt"
    assert names(tmp_path) == ["step-000000020.ckpt"]
    empty(tmp_path / "step-000000020.ckpt")
    assert latest(tmp_path, lambda line: None) is None


def test_incomplete_checkpoint_folder_is_skipped(tmp_path: Path) -> None:
    files = write(tmp_path, 10)
    for step in (20, 30):
        parts = files.unfinished(step) / "model"
        parts.mkdir(parents=True)
        for rank in range(2):
            (parts / f"rank-{rank}").write_bytes(bytes(100))
        files.finish_folder(files.unfinished(step))
    assert latest(tmp_path) == tmp_path / "step-000000030.ckpt"
    (tmp_path / "step-000000030.ckpt" / "model" / "rank-1").write_bytes(bytes(99))
    (tmp_path / "step-000000020.ckpt" / "parts.json").unlink()
    reported: list[str] = []
    assert latest(tmp_path, reported.append) == tmp_path / "step-000000010.ckpt"
    assert "model/rank-1" in reported[0]
    assert len(reported) == 2


def test_intact_checkpoint_has_no_damage(tmp_path: Path) -> None:
    write(tmp_path, 1)
    assert damage(tmp_path / "step-000000001.ckpt") is None


def test_snapshot_shares_no_memory() -> None:
    weight = torch.arange(6.0)
    state = {
        "head": weight,
        "tied": weight,
        "part": weight[2:4],
        "nested": [{"step": torch.tensor(3)}, (torch.zeros(0), torch.zeros(0, dtype=torch.int64))],
        "plain": {"rates": [0.1]},
    }
    copied = snapshot(state)
    weight.zero_()
    state["plain"]["rates"].append(0.2)
    assert copied["head"].tolist() == [0, 1, 2, 3, 4, 5]
    assert copied["tied"] is copied["head"]
    assert copied["part"].tolist() == [2, 3]
    assert copied["nested"][0]["step"] == 3
    assert copied["nested"][1][1].dtype == torch.int64
    assert json.dumps(copied["plain"]) == '{"rates": [0.1]}'
