"""Errors of the store if a disk is full or not writable."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from framework.core.errors import GateError, StoreError
from framework.core.step import Stage, Step, Workspace
from framework.core.store import Store


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a full or read-only disk needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class FillByPython(Stage):
    name: ClassVar[str] = "fill"
    version: ClassVar[int] = 1

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        (output / "file.txt").write_text("x" * 4_000_000)


class Misses(Stage):
    name: ClassVar[str] = "misses"
    version: ClassVar[int] = 1

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        raise GateError("exact_match is 0.1")


class FillBySafetensors(FillByPython):
    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        import torch
        from safetensors.torch import save_file

        save_file({"weight": torch.zeros(1000, 1000)}, output / "model.safetensors")


class FillByTorch(FillByPython):
    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        import torch

        torch.save({"weight": torch.zeros(1000, 1000)}, output / "last.ckpt")


class FillByOnnx(FillByPython):
    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        import numpy as np
        import onnx

        weight = onnx.numpy_helper.from_array(np.zeros((1000, 1000), np.float32), "weight")
        graph = onnx.helper.make_graph([], "g", [], [], [weight])
        onnx.save_model(onnx.helper.make_model(graph), output / "model.onnx", save_as_external_data=True)


@pytest.mark.parametrize("stage", [FillByPython, FillBySafetensors, FillByTorch, FillByOnnx])
def test_full_disk_is_a_one_line_error_and_leaves_nothing(tmp_path: Path, stage: type[Stage]) -> None:
    with mounted(tmp_path / "small", "size=1m"):
        store = Store(tmp_path / "small")
        step = Step("tune", stage())
        with pytest.raises(StoreError) as caught:
            store.build(step)
        message = str(caught.value)
        assert "cannot build 'tune': No space left on device; free space there" in message
        assert str(tmp_path / "small") in message
        assert "\n" not in message
        assert store.record(step) is None
        assert list(store.root.glob("*/.building-*")) == []
        kept = sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
        assert kept == 0  # locks are empty files


def test_gate_error_on_a_full_disk_stays_a_gate_error(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=64k"), pytest.raises(GateError):
        Store(tmp_path / "small").build(Step("gate", Misses()))


def test_read_only_store_is_a_one_line_error(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=16m"):
        store, built = Store(tmp_path / "small"), Step("write", FillByPython())
        store.build(built)
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "small")], check=True)
        assert store.build(built) == store.folder(built)  # reading needs no permission
        with pytest.raises(StoreError, match=r"Read-only file system; check its permissions.*store="):
            store.build(Step("write", FillByTorch()))
        store.sweep()


def test_file_at_the_store_path_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(StoreError, match="set store=<another folder>"):
        Store(tmp_path / "store").build(Step("write", FillByPython()))
