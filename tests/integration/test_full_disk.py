"""Stores on disks that are full or read-only: one line that says how to go on."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = "+recipe=tiny"


def mount(folder: Path, size: str) -> None:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs requires root")


@pytest.mark.parametrize("size", ["200k", pytest.param("1500k", marks=pytest.mark.slow)])
def test_full_disk_is_a_one_line_error(tmp_path: Path, run: Run, size: str) -> None:
    """The smaller disk is full in the step ``model``, the other in a later step."""
    mount(tmp_path / "small", size)
    try:
        done = run(tmp_path, TINY, "store=small/store")
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert "No space left on device" in last
        assert "set store=<another folder>" in last
        assert "Traceback" not in done.stderr
        assert list((tmp_path / "small/store").glob("*/.building-*")) == []
        for record in (tmp_path / "small/store").glob("*/*/artifact.json"):
            assert json.loads(record.read_text())["files"]
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "small")], check=True)


def test_disk_without_a_free_byte_is_a_one_line_error(tmp_path: Path, run: Run) -> None:
    mount(tmp_path / "small", "64k")
    try:
        with (tmp_path / "small/filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(b"x" * 4096)
        done = run(tmp_path, TINY, "store=small/store")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert "No space left on device" in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "small")], check=True)


def test_read_only_store_is_a_one_line_error(tmp_path: Path, run: Run) -> None:
    mount(tmp_path / "small", "1m")
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "small")], check=True)
        done = run(tmp_path, TINY, "store=small/store")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        assert "Read-only file system" in done.stderr
        assert "set store=<another folder>" in done.stderr
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "small")], check=True)


def test_file_at_the_store_path_is_a_one_line_error(tmp_path: Path, run: Run) -> None:
    (tmp_path / "store").write_text("not a folder")
    done = run(tmp_path, TINY, "store=store")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "set store=<another folder>" in done.stderr
