"""The store: finished artifacts by key, each whole or absent.

Layout below the root: ``<stage>/<key>/`` with ``artifact.json`` beside the stage's files,
``<stage>/.building-<key>/`` while it is made, ``scratch/<key>/`` for resumable work and
``locks/<key>.lock``. The store does not know what a plan is, nor in which process it runs.
"""

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

from framework.core.errors import StoreError
from framework.core.files import files_below, sha256_of
from framework.core.memory import peak_memory, reset_peak_memory
from framework.core.step import Step, Workspace

RECORD = "artifact.json"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Store:
    """Content-addressed artifacts below one local folder."""

    root: Path

    def folder(self, step: Step) -> Path:
        """Return where the step's artifact is, or would be."""
        return self.root / step.stage.name / step.key

    def record(self, step: Step) -> dict[str, Any] | None:
        """Return the artifact's record if the step is built, else None.

        Raises:
            StoreError: the artifact was changed after it was made.
        """
        folder = self.folder(step)
        try:
            record = json.loads((folder / RECORD).read_text())
        except FileNotFoundError:
            if folder.exists():
                raise StoreError(_damaged(folder, f"{RECORD} is missing")) from None
            return None
        except ValueError as error:
            raise StoreError(_damaged(folder, f"{RECORD} is not JSON ({error})")) from None
        if not isinstance(record, dict) or record.get("key") != step.key:
            raise StoreError(_damaged(folder, f"{RECORD} does not belong to this step"))
        self._verify(folder, record["files"])
        return record

    def build(self, step: Step, announce: Callable[[str], None] = lambda message: None) -> Path:
        """Return the folder of the step's artifact, running the step if it is not there yet.

        The step's inputs must be built. A second caller waits for the first and takes its result.

        Raises:
            StoreError: an input or the artifact was changed, or the disk refused.
            FrameworkError: whatever the stage raises.
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
            if error.errno in _DISK_ERRORS:
                raise StoreError(_refused(self.root, step, error)) from error
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
        shutil.rmtree(building, ignore_errors=True)  # left by a killed runner; we hold the lock
        building.mkdir(parents=True)
        scratch.mkdir(parents=True, exist_ok=True)
        reset_peak_memory()
        started = time.monotonic()
        try:
            step.stage.run(inputs, building, Workspace(scratch))
            record = {
                "key": step.key,
                "label": step.label,
                "identity": step.identity(),
                "seconds": round(time.monotonic() - started, 3),
                "peak_memory_bytes": peak_memory(),
                "files": _describe(building),
            }
            _write_durably(building / RECORD, json.dumps(record, indent=1, sort_keys=True))
            building.rename(self.folder(step))
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        shutil.rmtree(scratch, ignore_errors=True)

    def discard_unfinished(self, step: Step) -> None:
        """Remove what a killed worker left of the step, unless another runner is at it now."""
        building = self._building(step)
        if not building.exists():
            return
        try:
            with FileLock(self.root / "locks" / f"{step.key}.lock", timeout=0):
                shutil.rmtree(building, ignore_errors=True)
        except Timeout:
            return

    def _building(self, step: Step) -> Path:
        return self.root / step.stage.name / f".building-{step.key}"

    @staticmethod
    def _verify(folder: Path, files: dict[str, Any]) -> None:
        """Compare every file with the record; bytes are read only where size or time differ."""
        for name, known in files.items():
            path = folder / name
            try:
                stat = path.stat()
            except FileNotFoundError:
                raise StoreError(_damaged(folder, f"{name} is missing")) from None
            if stat.st_size != known["size"]:
                raise StoreError(
                    _damaged(folder, f"{name} has {stat.st_size} bytes, recorded {known['size']}")
                )
            if stat.st_mtime_ns != known["mtime_ns"] and sha256_of(path) != known["sha256"]:
                raise StoreError(_damaged(folder, f"{name} has another sha256 than recorded"))


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


def _damaged(folder: Path, what: str) -> str:
    return f"{folder}: the artifact was altered after it was made: {what}; remove the folder to build it again"


def _refused(root: Path, step: Step, error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    mend = "free space there or set store=<another folder>" if full else "check its permissions"
    return f"{root}: cannot write the artifact of '{step.label}': {error.strerror}; {mend}"
