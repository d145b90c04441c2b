"""Start the server of a release as a process with a real port, as a pod does."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
import openai

from framework.core.modelstore import push
from framework.core.release import Release
from framework.serving.http import HttpServing

ROOT = Path(__file__).parents[1]
HELLO = [{"role": "user", "content": "hello world"}]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> set[int]:
    """Return all processes below *pid* whose parents are alive."""
    pids: set[int] = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pids |= {int(child)} | descendants(int(child))
    return pids


def alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Return whether *condition* became true within *seconds*."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen[str]
    port: int
    engine: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=30)

    def status(self, path: str) -> int:
        """Return the HTTP status of *path*, 0 if the server does not accept connections."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}{path}").status_code
        return 0

    def sample(self, name: str, *labels: str) -> float:
        """Return the first sample of the metric *name* with all *labels*, 0 if there is none."""
        for line in httpx.get(f"{self.url}/metrics").text.splitlines():
            if line.startswith(name) and all(label in line for label in labels):
                return float(line.rpartition(" ")[2])
        return 0.0


def write_release(model: Path, engine: str, task: str, folder: Path, **options: object) -> int:
    """Publish *model* and write the files that the command reads to *folder*; return the port."""
    zero = f"sha256:{'0' * 64}"
    uri, digest = push(model, f"{folder}/store")
    release = Release(
        name="tiny",
        recipe="tiny",
        plan="0" * 64,
        model_uri=uri,
        digest=digest,
        engine=engine,
        task=task,
        base_model="random",
        base_model_license="none",
        data_digest=zero,
        chat_template_digest=None,
        metrics={"tuned.exact_match": 0.5},
        gates={},
        commit=None,
    )
    (folder / "release.lock").write_text(release.text())
    port = free_port()
    serving = HttpServing.model_validate({"port": port, "threads": 1, **options})
    (folder / "serving.json").write_text(json.dumps(serving.dump()))
    return port


def start(folder: Path, *flags: str) -> subprocess.Popen[str]:
    """Start the server on the files in *folder*."""
    command = [sys.executable, "-W", "error", "-m", "framework.server", "--model", str(folder / "model")]
    files = ["--release", str(folder / "release.lock"), "--config", str(folder / "serving.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, *files, *flags],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def serving(model: Path, engine: str, task: str, folder: Path, **options: object) -> Iterator[Served]:
    """Serve *model* until the block ends."""
    port = write_release(model, engine, task, folder, **options)
    process = start(folder)
    served = Served(process, port, engine)
    try:
        assert eventually(lambda: served.status("/ready") == 200 or process.poll() is not None, 120)
        assert process.poll() is None, process.communicate()[1]
        yield served
    finally:
        served.client.close()
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


@contextlib.contextmanager
def stopped(served: Served) -> Iterator[int]:
    """Suspend the model's process, so that requests wait; return its id. It goes on when the block ends."""
    (engine,) = descendants(served.process.pid)
    os.kill(engine, signal.SIGSTOP)
    try:
        yield engine
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine, signal.SIGCONT)


def run_to_end(folder: Path, *flags: str) -> tuple[int, str]:
    """Run a command that ends without a signal; return its exit code and standard error."""
    process = start(folder, *flags)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors
