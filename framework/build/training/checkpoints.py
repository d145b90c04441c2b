"""Checkpoint files: written in the background, atomically, with the last few kept.

A checkpoint is ``step-<number>.ckpt`` in the scratch folder: a file, or a folder with a part from each
rank. This module knows neither when one is due nor what is in it.
"""

import copy
import json
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

_PARTS = "parts.json"
"""Lists the sizes of a checkpoint folder's files; written last."""


class CheckpointFiles(CheckpointIO):
    """Lightning's checkpoint IO: a thread writes a snapshot while training continues.

    At most one checkpoint is being written; the next waits for it. So a kill costs a bounded number of
    steps even on a slow disk. ``wait`` and ``check`` raise the thread's error in the caller's thread.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def unfinished(self, step: int) -> Path:
        """Return the path of *step*'s checkpoint while it is being written."""
        return self.folder / f"step-{step:09}.new"

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy all tensors; let a thread write them to *path* and then rename it."""
        self.wait()
        content, fresh = snapshot(checkpoint), Path(path)
        self._thread = threading.Thread(target=self._write, args=(content, fresh), name="checkpoint")
        self._thread.start()

    def finish_folder(self, fresh: Path) -> None:
        """Give the folder *fresh* its final name; every rank has written its part."""
        files = [file for file in fresh.rglob("*") if file.is_file()]
        sizes = {file.relative_to(fresh).as_posix(): file.stat().st_size for file in files}
        (fresh / _PARTS).write_text(json.dumps(sizes), encoding="utf-8")
        for file in (*files, fresh / _PARTS):
            _sync(file)
        self._name(fresh)

    def wait(self) -> None:
        """Wait until no checkpoint is being written.

        Raises:
            OSError: the last checkpoint could not be written.
        """
        if self._thread is not None:
            self._thread.join()
        self.check()

    def check(self) -> None:
        """Raise the error of the last checkpoint if writing it has already failed."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def load_checkpoint(self, path: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Load a checkpoint onto the CPU. It is our own file, and holds more than tensors."""
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the file or folder *path* if it exists."""
        _remove(Path(path))

    def teardown(self) -> None:
        """Wait for the thread; Lightning calls this when training ends, with or without an error."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, content: dict[str, Any], fresh: Path) -> None:
        try:
            with fresh.open("wb") as stream:
                torch.save(content, stream)
                stream.flush()
                os.fsync(stream.fileno())
            self._name(fresh)
        except BaseException as error:
            self._failure = error
            fresh.unlink(missing_ok=True)  # incomplete, such as on a full disk

    def _name(self, fresh: Path) -> None:
        named = fresh.with_suffix(".ckpt")
        _remove(named)
        fresh.rename(named)
        _sync(self.folder)
        for old in _by_age(self.folder)[: -self.keep]:
            _remove(old)


def latest(folder: Path, report: Callable[[str], None] | None = None) -> Path | None:
    """Return the newest intact checkpoint in *folder*, or None; remove damaged and unfinished ones.

    Args:
        folder: where ``CheckpointFiles`` wrote.
        report: receives a line for each damaged checkpoint; by default it goes to standard error.
    """
    for unfinished in folder.glob("step-*.new"):
        _remove(unfinished)
    report = report or (lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    for path in reversed(_by_age(folder)):
        if (problem := damage(path)) is None:
            return path
        step = int(path.stem.partition("-")[2])
        report(f"the checkpoint of step {step} is damaged ({problem}); using the previous one")
        _remove(path)
    return None


def damage(path: Path) -> str | None:
    """Return what is wrong with the checkpoint at *path*; None if it is intact.

    torch loads a file with a flipped bit without an error. The file is a zip archive with a checksum for
    every tensor, so this compares the checksums. For a folder it compares the files' sizes.
    """
    if path.is_dir():
        return _folder_damage(path)
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return str(error)
    return None if bad is None else f"wrong checksum of {bad}"


def _folder_damage(path: Path) -> str | None:
    try:
        sizes = json.loads((path / _PARTS).read_text(encoding="utf-8"))
        wrong = [name for name, size in sizes.items() if (path / name).stat().st_size != size]
    except (OSError, ValueError) as error:
        return str(error)
    return f"{wrong[0]} is truncated" if wrong else None


def snapshot(value: Any, copies: dict[Any, Any] | None = None) -> Any:
    """Return a deep copy of *value* with every tensor on the CPU.

    A tensor that occurs twice, such as tied embeddings, is copied once.
    """
    copies = {} if copies is None else copies
    if isinstance(value, torch.Tensor):
        # Keep the original alive as well: a freed tensor's address may be reused.
        identity = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if identity not in copies or not value.numel():
            copies[identity] = (value, value.detach().to("cpu", copy=True))
        return copies[identity][1]
    if isinstance(value, dict):
        return {key: snapshot(item, copies) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [snapshot(item, copies) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return copy.deepcopy(value)


def _by_age(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.ckpt"))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush the file or folder *path* to disk; otherwise a rename may become durable before the content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
