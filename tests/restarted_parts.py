"""A server with all that it depends on; what dies is started again, as Kubernetes would."""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import debian_servers
import pytest
from job_workers import Worker
from server_process import Served, descendants, start, write_release

from framework.serving import API_KEY
from framework.serving.access.key_file import hash_of

KEYS = ("red", "blue")
"""API keys of clients."""
PARTS = ("server", "engine", "worker", "redis", "rabbitmq")
"""All that can be killed."""
_WORKER_KEY = "worker"
_DELAY = 0.2
"""Seconds between two looks at a part."""


class Process(Protocol):
    """What can be killed and started."""

    @property
    def process(self) -> subprocess.Popen[Any] | None: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...


class Server:
    """The server; its engine must end with it, by itself."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.errors = folder, ""
        self.served = Served(start(folder), port)

    @property
    def process(self) -> subprocess.Popen[str]:
        return self.served.process

    def start(self) -> None:
        """Start it again; what it wrote to standard error is kept."""
        self.read()
        self.served.process = start(self.folder)

    def kill(self) -> None:
        """Kill it alone."""
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """End it as a pod is ended."""
        self.process.terminate()
        self.read()

    def read(self) -> None:
        """Read standard error until all processes that hold it have ended."""
        assert self.process.stderr is not None
        if not self.process.stderr.closed:
            self.errors += self.process.communicate(timeout=60)[1]

    def kill_engine(self) -> bool:
        """Kill the model's process alone; return False if there is none now."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for pid in descendants(self.process.pid):
                os.kill(pid, signal.SIGKILL)
                return True
        return False


class Watched:
    """A process that is started again whenever it has ended."""

    def __init__(self, part: Process) -> None:
        self._part = part
        self.ends, self.kills = 0, 0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _runs(self) -> bool:
        return self._part.process is not None and self._part.process.poll() is None

    def kill(self) -> bool:
        """Kill it; return False if it is down, or is being started."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if runs := self._runs():
                self._part.kill()
                self.kills += 1
            return runs
        finally:
            self._lock.release()

    def close(self) -> None:
        """Watch it no more; it runs."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_DELAY):
            with self._lock:
                if not self._runs():
                    self.ends += 1
                    with contextlib.suppress(AssertionError):  # it did not answer: it is tried again
                        self._part.start()


class Parts:
    """All parts, each watched."""

    def __init__(self, server: Server, others: dict[str, Process]) -> None:
        self.server, self.served = server, server.served
        self.watched = {name: Watched(part) for name, part in {"server": server, **others}.items()}

    def kill(self, name: str) -> bool:
        """Kill a part with SIGKILL; return False if it does not run now."""
        return self.server.kill_engine() if name == "engine" else self.watched[name].kill()

    def close(self) -> None:
        """Start nothing any more."""
        for part in self.watched.values():
            part.close()


@contextlib.contextmanager
def restarted_parts(model: Path, folder: Path, **jobs: object) -> Iterator[Parts]:
    """Serve *model* with keys, answers in Redis, and jobs in SQLite that a worker gets from RabbitMQ."""
    with contextlib.ExitStack() as stack:
        redis, cache = stack.enter_context(debian_servers.redis())
        rabbitmq, broker = stack.enter_context(debian_servers.rabbitmq())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("GITUNE_BROKER", broker)
        patch.setenv(API_KEY, _WORKER_KEY)
        keys = [{"name": key, "hash": hash_of(key)} for key in KEYS]
        (folder / "keys.json").write_text(json.dumps({"keys": keys}))
        options = {
            "cache": {"redis": cache, "memory_mib": 0},
            "grace_seconds": 5,
            "jobs": {"broker": "GITUNE_BROKER", "results": f"sqlite:///{folder}/jobs.sqlite", **jobs},
            "keys": str(folder / "keys.json"),
            "max_batch_size": 4,
            "max_wait_seconds": 60,
        }
        server = Server(folder, write_release(model, "genai", "causal-lm", folder, **options))
        # pytest shows it if the test fails
        stack.callback(lambda: print(server.errors, (folder / "worker.log").read_text()))
        stack.callback(server.end)
        worker = Worker(folder, server.served.url)
        worker.start()
        stack.callback(worker.kill)
        parts = Parts(server, {"worker": worker, "redis": redis, "rabbitmq": rabbitmq})
        stack.callback(parts.close)
        yield parts
