"""Build on this machine: one worker process, ended with the runner.

It starts ``framework.worker`` by its name; what the worker does, it does not know.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from framework.build.launcher import Built, Interrupted, Launcher, Work
from framework.core.errors import StepError, StoreError
from framework.core.filesystem import write_whole
from framework.core.job import write_job
from framework.core.modelstore import is_lost
from framework.core.release import LOCK, Release
from framework.core.step import Step

_GRACE = 10.0
"""Seconds that a worker has to end by itself after SIGTERM, and training besides to save itself."""


class Local(Launcher):
    """A worker on this machine, which builds into the store of this folder."""

    def find(self, work: Work) -> Release | None:
        """Read the lock that the publishing step left in the store."""
        if work.store.record(work.last) is None:
            return None
        return Release.read(work.store.folder(work.last) / LOCK)

    def build(self, work: Work) -> Built:
        """Run the worker for what is not in the store; see the base class."""
        release = self.find(work)
        if release is not None and is_lost(release.model_uri):
            print(f"warning: {release.model_uri} is gone; publishing it again", file=sys.stderr)
            work.store.forget(work.last)
        pending = [step for step in work.steps if work.store.record(step) is None]
        if pending:
            _run(work, pending)
        return Built(Release.read(work.store.folder(work.last) / LOCK), len(pending))


def _run(work: Work, pending: list[Step]) -> None:
    """Run the worker until everything pending is built; stop it when we are stopped."""
    job = _written(work, pending)

    def stop(number: int, frame: object) -> NoReturn:
        kept = "nothing half-made was kept. The same command goes on from here"
        raise Interrupted(number, f"{kept}:\n  {work.command}")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    command = [sys.executable, "-P", "-m", "framework.worker", str(job)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        code = worker.wait()
    except Interrupted:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)  # to the end: we are on our way out
        _end(worker, _GRACE + work.saving_seconds)
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)  # what the worker started and did not end
        job.unlink(missing_ok=True)
        work.store.sweep()
    for number, handler in previous.items():
        signal.signal(number, handler)
    if code:
        _explain(code, work.command)


def _written(work: Work, pending: list[Step]) -> Path:
    root = work.store.root
    job = root / "jobs" / f"{work.last.key}-{os.getpid()}.json"  # another runner may plan the same
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
    """End the worker: as it likes, and after *grace* seconds as it does not."""
    worker.terminate()
    try:
        worker.wait(grace)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _explain(code: int, command: str) -> NoReturn:
    """Pass on why the worker ended."""
    if code > 0:
        failure = StepError()  # the worker has said what went wrong, on our own standard error
        failure.exit_code = code
        raise failure
    name = signal.Signals(-code).name
    reason = "; the system ends what takes too much memory" if -code == signal.SIGKILL else ""
    raise StepError(
        f"The worker was ended by {name}{reason}. The same command goes on from here:\n  {command}\n"
        "If it happens again, set training.micro_batch_size=1 or a smaller model=<option>."
    )
