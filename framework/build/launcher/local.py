"""Build on this machine, in one worker process that ends with the runner.

Knows ``framework.worker`` only as a command.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from framework.build.launcher import Built, Finished, Interrupted, Launcher, Run, Work
from framework.core.errors import StepError, StoreError
from framework.core.filesystem import write_whole
from framework.core.job import write_job
from framework.core.modelstore import is_lost
from framework.core.release import LOCK, Release
from framework.core.signals import describe_exit, handling_signals, ignore_signals
from framework.core.step import Step

_GRACE = 10.0
"""Seconds that a worker may take to end after SIGTERM, plus what training needs to save."""


class Local(Launcher):
    """A worker process on this machine that builds into the store of this folder."""

    def find(self, work: Work) -> Release | None:
        """Read the lock that the publishing step left in the store."""
        if work.store.record(work.last) is None:
            return None
        return Release.read(work.store.folder(work.last) / LOCK)

    def submit(self, work: Work) -> Run:
        """Start a worker for the steps that the store lacks; see the base class."""
        release = self.find(work)
        if release is not None and is_lost(release.model_uri):
            print(f"warning: {release.model_uri} is gone; publishing it again", file=sys.stderr)
            work.store.forget(work.last)
            release = None
        pending = [step for step in work.steps if work.store.record(step) is None]
        if release is not None and not pending:
            return Finished(Built(release, 0))
        return LocalRun(work, pending)


class LocalRun(Run):
    """A worker process. Its output is this process's own, so there is no log to pass on."""

    def __init__(self, work: Work, pending: Sequence[Step]) -> None:
        self._work, self._pending = work, pending
        self._job = _write_job_file(work, pending)
        command = [sys.executable, "-P", "-m", "framework.worker", str(self._job)]
        self._worker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._is_clean = False

    def follow(self) -> None:
        """Return when the worker has ended; see the base class."""
        self._join()

    def wait(self) -> Built:
        """Return what the worker published; see the base class."""
        code = self._join()
        if code:
            _explain(code, self._work.command)
        return Built(Release.read(self._work.store.folder(self._work.last) / LOCK), len(self._pending))

    def cancel(self) -> None:
        """End the worker, which saves its training first."""
        if self._worker.poll() is None:
            _end(self._worker, _GRACE + self._work.saving_seconds)
        self._clean_up()

    def _join(self) -> int:
        """Wait for the worker and return its exit code; a signal to this process ends the worker first."""

        def stop(number: int) -> NoReturn:
            kept = "finished steps are kept. Resume with the same command"
            raise Interrupted(number, f"{kept}:\n  {self._work.command}")

        with handling_signals(stop):
            try:
                code = self._worker.wait()
            except Interrupted:
                ignore_signals()  # this process is about to end
                self.cancel()
                raise
            self._clean_up()
        return code

    def _clean_up(self) -> None:
        if self._is_clean:  # the worker's process group may belong to others by now
            return
        self._is_clean = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._worker.pid, signal.SIGKILL)  # processes that the worker started and left
        if self._worker.stdin is not None:
            self._worker.stdin.close()
        self._job.unlink(missing_ok=True)
        self._work.store.sweep()


def _write_job_file(work: Work, pending: Sequence[Step]) -> Path:
    root = work.store.root
    job = root / "jobs" / f"{work.last.key}-{os.getpid()}.json"  # another runner may build the same plan
    try:
        write_whole(job, write_job(work.steps, pending, str(root.resolve()), work.plugins))
        work.store.sweep()
    except OSError as error:
        raise StoreError(
            f"{root}: cannot be written: {error.strerror}; "
            "free space or check permissions there, or set store=<another folder>"
        ) from error
    return job


def _end(worker: "subprocess.Popen[bytes]", grace: float) -> None:
    """Ask the worker to end; kill it after *grace* seconds."""
    worker.terminate()
    try:
        worker.wait(grace)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _explain(code: int, command: str) -> NoReturn:
    """Raise the error that the worker ended with."""
    if code > 0:
        failure = StepError()  # the worker has printed the reason to our stderr
        failure.exit_code = code
        raise failure
    raise StepError(
        f"The worker {describe_exit(code)}. Resume with the same command:\n  {command}\n"
        "If it happens again, set training.micro_batch_size=1 or a smaller model=<option>."
    )
