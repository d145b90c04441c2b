"""The store: finished artifacts by key, each complete or absent.

Layout below the root: ``<stage>/<key>/`` with ``artifact.json`` beside the stage's files,
``<stage>/.building-<key>/`` during the build, ``scratch/<key>/`` for resumable work, and
``locks/<key>.lock``. The store knows neither plans nor the process that it runs in.
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from framework.core.errors import FrameworkError, StoreError
from framework.core.filesystem import files_below, remove, sha256_of
from framework.core.peak_memory import peak_memory, reset_peak_memory
from framework.core.step import Step, Workspace

RECORD = "artifact.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (*_FULL, errno.EACCES, errno.EPERM, errno.EROFS)
_NO_ROOM = 64 * 1024
"""A disk with fewer free bytes is full."""


@dataclass(frozen=True)
class Store:
    """Content-addressed artifacts below one local folder."""

    root: Path

    def folder(self, step: Step) -> Path:
        """Return the folder of the step's artifact, whether it exists or not."""
        return self.root / step.stage.name / step.key

    def record(self, step: Step) -> dict[str, Any] | None:
        """Return the artifact's record, or None if the step is not built.

        Raises:
            StoreError: the artifact was altered, or cannot be read.
        """
        folder = self.folder(step)
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if folder.exists():
                raise StoreError(_damaged(folder, f"{RECORD} is missing")) from None
            return None
        except ValueError as error:
            raise StoreError(_damaged(folder, f"{RECORD} is not JSON ({error})")) from None
        except OSError as error:
            raise StoreError(_refused(folder, "read it", error)) from error
        if not isinstance(record, dict) or record.get("key") != step.key:
            raise StoreError(_damaged(folder, f"{RECORD} does not belong to this step"))
        try:
            self._verify(folder, record["files"])
        except (KeyError, TypeError, AttributeError):
            raise StoreError(_damaged(folder, f"{RECORD} is incomplete")) from None
        return record

    def build(self, step: Step, announce: Callable[[str], None] = lambda message: None) -> Path:
        """Return the folder of the step's artifact; run the step first if it is not built.

        The step's inputs must be built. A second caller waits for the first and uses its result.

        Raises:
            StoreError: an input or the artifact was altered, or the store cannot be written.
            FrameworkError: an error of the stage.
        """
        if self.record(step) is not None:
            return self.folder(step)
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / "locks" / f"{step.key}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                announce("another runner is on this step; waiting for its result")
                lock.acquire()
            try:
                if self.record(step) is None:
                    self._make(step)
            finally:
                lock.release()
        except OSError as error:
            if error.errno in _REFUSED:
                raise StoreError(_refused(self.root, f"build '{step.label}'", error)) from error
            raise
        return self.folder(step)

    def _make(self, step: Step) -> None:
        inputs = {}
        for slot, need in step.needs.items():
            if self.record(need) is None:
                raise StoreError(f"{step.label}: its input '{need.label}' is not in the store")
            inputs[slot] = self.folder(need)
        building = self._building(step)
        scratch = self.root / "scratch" / step.key
        remove(building)  # left by a killed runner; we hold the lock
        building.mkdir(parents=True)
        scratch.mkdir(parents=True, exist_ok=True)
        reset_peak_memory()
        spent = _cpu_seconds()
        started = time.monotonic()
        try:
            step.stage.run(inputs, building, Workspace(scratch))
            record = {
                "key": step.key,
                "label": step.label,
                "identity": step.identity(),
                "seconds": round(time.monotonic() - started, 3),
                "cpu_seconds": round(_cpu_seconds() - spent, 3),
                "peak_memory_bytes": peak_memory(),
                "files": _describe(building),
            }
            _write_durably(building / RECORD, json.dumps(record, indent=1, sort_keys=True))
            building.rename(self.folder(step))
        except BaseException as error:
            full = self._is_full(error)  # checked before the cleanup frees space
            remove(building)
            if full:
                no_room = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                raise StoreError(_refused(self.root, f"build '{step.label}'", no_room)) from error
            raise
        remove(scratch)

    def _is_full(self, error: BaseException) -> bool:
        """Return whether *error* comes from a full disk; libraries wrap the system's error in their own."""
        if isinstance(error, FrameworkError) or not isinstance(error, Exception):
            return False
        cause: BaseException | None = error
        while cause is not None:
            if getattr(cause, "errno", None) in _FULL or os.strerror(errno.ENOSPC) in str(cause):
                return True
            cause = cause.__cause__ or cause.__context__
        return shutil.disk_usage(self.root).free < _NO_ROOM

    def forget(self, step: Step) -> None:
        """Remove the step's artifact, so that it will be built again."""
        with FileLock(self.root / "locks" / f"{step.key}.lock"):
            dropped = self._building(step)
            remove(dropped)
            with contextlib.suppress(FileNotFoundError):
                self.folder(step).rename(dropped)  # a partly removed folder must not keep its name
            remove(dropped)

    def sweep(self) -> None:
        """Remove the leftovers of killed runners: unfinished folders, and the scratch of finished steps.

        Folders that a live runner is building are locked and kept; so is the scratch of unfinished steps.
        """
        for building in self.root.glob("*/.building-*"):
            key = building.name.removeprefix(".building-")
            lock = FileLock(self.root / "locks" / f"{key}.lock", timeout=0)
            with contextlib.suppress(Timeout, OSError), lock:
                remove(building)
        for scratch in (self.root / "scratch").glob("*"):
            if any(self.root.glob(f"*/{scratch.name}/{RECORD}")):
                remove(scratch)

    def _building(self, step: Step) -> Path:
        return self.root / step.stage.name / f".building-{step.key}"

    @staticmethod
    def _verify(folder: Path, files: dict[str, Any]) -> None:
        """Compare every file with the record; bytes are only read if the modification time differs.

        Raises:
            StoreError: a file was added, removed or altered.
        """
        present = {path.relative_to(folder).as_posix() for path in files_below(folder)}
        if added := sorted(present - files.keys() - {RECORD}):
            raise StoreError(_damaged(folder, f"{added[0]} was added"))
        for name, recorded in files.items():
            path = folder / name
            try:
                stat = path.stat()
            except FileNotFoundError:
                raise StoreError(_damaged(folder, f"{name} is missing")) from None
            if stat.st_size != recorded["size"]:
                change = f"{name} has {stat.st_size} bytes, recorded {recorded['size']}"
                raise StoreError(_damaged(folder, change))
            if stat.st_mtime_ns != recorded["mtime_ns"] and sha256_of(path) != recorded["sha256"]:
                raise StoreError(_damaged(folder, f"{name} does not match its recorded sha256"))


def _cpu_seconds() -> float:
    """Return the CPU time of this process and its finished children; other processes disturb it less."""
    return sum(os.times()[:4])


def _describe(folder: Path) -> dict[str, Any]:
    return {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "mtime_ns": path.stat().st_mtime_ns,
            "sha256": sha256_of(path),
        }
        for path in files_below(folder)
    }


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _damaged(folder: Path, change: str) -> str:
    return f"{folder}: the artifact was altered: {change}; remove the folder to build it again"


def _refused(path: Path, doing: str, error: OSError) -> str:
    where = error.filename or path
    fix = "free space there" if error.errno in _FULL else "check its permissions"
    return f"{where}: cannot {doing}: {error.strerror}; {fix}, or set store=<another folder>"
