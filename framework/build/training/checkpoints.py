"""Checkpoints: written beside training, whole or not at all, the last few kept.

A checkpoint is ``step-<number>.ckpt`` in the scratch folder: a file, or a folder where each rank writes
its own part. It knows neither when one is due nor what is in it.
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
"""The sizes of a checkpoint folder's files, written last."""


class CheckpointFiles(CheckpointIO):
    """Lightning's way to files: a thread writes a snapshot while training goes on.

    At most one is being written: the next waits for it, so that a slow disk bounds what a kill costs.
    What went wrong in the thread is raised by ``wait`` or ``check``, in the caller's.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def place(self, step: int) -> Path:
        """Return where the checkpoint of *step* is written before it gets its name."""
        return self.folder / f"step-{step:09}.new"

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy all tensors to memory of their own, and let a thread write them to *path*, then name it."""
        self.wait()
        content, fresh = snapshot(checkpoint), Path(path)
        self._thread = threading.Thread(target=self._write, args=(content, fresh), name="checkpoint")
        self._thread.start()

    def finish_folder(self, fresh: Path) -> None:
        """Name the folder *fresh*, to which every rank has written its part by now."""
        files = [file for file in fresh.rglob("*") if file.is_file()]
        sizes = {file.relative_to(fresh).as_posix(): file.stat().st_size for file in files}
        (fresh / _PARTS).write_text(json.dumps(sizes), encoding="utf-8")
        for file in (*files, fresh / _PARTS):
            _sync(file)
        self._name(fresh)

    def wait(self) -> None:
        """Return once nothing is being written any more.

        Raises:
            OSError: the last checkpoint could not be written.
        """
        if self._thread is not None:
            self._thread.join()
        self.check()

    def check(self) -> None:
        """Raise what kept the last checkpoint from being written, if that is known by now."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def load_checkpoint(self, path: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Open a checkpoint on the CPU: it is ours, and holds random states besides tensors."""
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
        return found

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the file or folder *path* if it is there."""
        _remove(Path(path))

    def teardown(self) -> None:
        """Let the thread end; Lightning calls this on its way out, be it with an error or without."""
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
            fresh.unlink(missing_ok=True)  # a part of a checkpoint, on a full disk

    def _name(self, fresh: Path) -> None:
        named = fresh.with_suffix(".ckpt")
        _remove(named)
        fresh.rename(named)
        _sync(self.folder)
        for old in _by_age(self.folder)[: -self.keep]:
            _remove(old)


def latest(folder: Path, tell: Callable[[str], None] | None = None) -> Path | None:
    """Return the newest whole checkpoint in *folder*, or None; remove what is damaged or half written.

    Args:
        folder: where ``CheckpointFiles`` wrote.
        tell: gets a line for each damaged one; by default they go to standard error.
    """
    for half in folder.glob("step-*.new"):
        _remove(half)
    tell = tell or (lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    for path in reversed(_by_age(folder)):
        if (fault := damage(path)) is None:
            return path
        step = int(path.stem.partition("-")[2])
        tell(f"the checkpoint of step {step} is damaged ({fault}); going on from the one before")
        _remove(path)
    return None


def damage(path: Path) -> str | None:
    """Return what is wrong with the checkpoint at *path*; None is nothing.

    torch opens a file with a flipped bit as if nothing were; it is a zip archive with a checksum for
    every tensor, which are compared here. Of a folder's files, the sizes are compared.
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
    return f"{wrong[0]} is cut off" if wrong else None


def snapshot(value: Any, copies: dict[Any, Any] | None = None) -> Any:
    """Return *value* with every tensor in it copied to the CPU, and everything else copied as well.

    A tensor that occurs twice, such as tied embeddings, is copied once.
    """
    copies = {} if copies is None else copies
    if isinstance(value, torch.Tensor):
        # The original is kept too: were it freed, its address might come again.
        place = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride())
        if place not in copies or not value.numel():
            copies[place] = (value, value.detach().to("cpu", copy=True))
        return copies[place][1]
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
    """Wait until the file or folder *path* is on the disk: a rename may overtake what was written."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
