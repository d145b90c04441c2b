"""A running server of one model, its memory and the CPU time of each token that it gives to clients."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.process import RUN, environment
from benchmarks.serving_load import Seen, from_clients

REQUESTS = 32
"""Requests that :func:`cost` sends."""


@dataclass(frozen=True)
class Server:
    """A running server of the quickstart's model."""

    url: str
    model: str
    process: subprocess.Popen[bytes]

    def resident_mib(self) -> float:
        """Return the memory of the server and the model's process."""
        return sum(map(_resident_mib, _family(self.process.pid)))


def cost(server: Server, clients: int) -> tuple[float, Seen]:
    """Return the server's CPU seconds a token with *clients*, and what these saw."""
    before = sum(map(_cpu_seconds, _family(server.process.pid)))
    seen = from_clients(server.url, server.model, clients, REQUESTS)
    if len(seen.answered) < REQUESTS:
        raise RuntimeError(f"{REQUESTS - len(seen.answered)} of {REQUESTS} requests were not answered")
    return (sum(map(_cpu_seconds, _family(server.process.pid))) - before) / seen.tokens, seen


def served(
    folder: Path, command: list[str], model: str, *options: str
) -> contextlib.AbstractContextManager[Server]:
    """Serve what *command* built, as a user does, on one thread."""
    port = free_port()
    ours = [f"serving.port={port}", "serving.threads=1", *options]
    return running([*RUN, "serve", *command, *ours], folder, f"http://127.0.0.1:{port}", model, "/ready")


def free_port() -> int:
    """Return a port that no server of this machine uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], folder: Path, url: str, model: str, probe: str) -> Iterator[Server]:
    """Start a server, wait until its path *probe* answers 200, and end it.

    Raises:
        RuntimeError: the server ended before.
    """
    process = subprocess.Popen(command, cwd=folder, env=environment())
    try:
        while process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}{probe}").status_code == 200:
                    break
            time.sleep(0.2)
        if process.returncode is not None:
            raise RuntimeError(f"the server ended with exit code {process.returncode}: {' '.join(command)}")
        yield Server(url, model, process)
    finally:
        process.terminate()
        process.wait(180)


def _family(pid: int) -> list[int]:
    """Return a process and all that it has started and that run."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _cpu_seconds(pid: int) -> float:
    """Return the user and system seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
