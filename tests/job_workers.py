"""Start workers of background jobs as processes, and look at their jobs."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
from server_process import HELLO, ROOT, Served, eventually

from framework.serving.jobs.schema import NAME

CHAT = "/v1/chat/completions"
WATCH = f"""
CREATE TABLE seen (id TEXT);
CREATE TRIGGER ends AFTER UPDATE ON {NAME}
WHEN new.ended IS NOT NULL AND (old.ended IS NULL OR new.result IS NOT old.result)
BEGIN INSERT INTO seen VALUES (new.id); END;
"""
"""Notes each end of a job, and each change of the result of an ended one."""


class Worker:
    """A worker and its child processes."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        files = [
            "--release",
            str(self.folder / "release.lock"),
            "--config",
            str(self.folder / "serving.json"),
        ]
        pulse = ["--pulse", f"{self.folder}/pulse"]
        with (self.folder / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "framework.serving.jobs.worker", *files, "--url", self.url, *pulse],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it with all its processes, at once."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """End it as a pod is ended; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=60)


@contextlib.contextmanager
def working(folder: Path, url: str) -> Iterator[Worker]:
    """Run a worker of the server whose files are in *folder*."""
    worker = Worker(folder, url)
    worker.start()
    try:
        yield worker
    finally:
        worker.kill()


def add(served: Served, tokens: int = 8, **more: object) -> str:
    """Add a job; return its id. The model's answers are rarely shorter than *tokens*."""
    body = {"model": "tiny", "messages": HELLO, "max_tokens": tokens, "temperature": 2, "seed": 1}
    reply = httpx.post(f"{served.url}/v1/jobs", json={"url": CHAT, "body": body, **more}, timeout=30)
    assert reply.status_code == 202, reply.text
    return reply.json()["id"]


def status(served: Served, job_id: str) -> str:
    """Return a job's status, empty if the server is away."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{served.url}/v1/jobs/{job_id}").json()["status"]
    return ""


def all_ended(served: Served, ids: list[str], seconds: float = 60) -> bool:
    """Return whether all jobs end within *seconds*."""
    left = list(ids)

    def done() -> bool:
        left[:] = [each for each in left if status(served, each) in ("", "queued", "in_progress")]
        return not left

    return eventually(done, seconds)
