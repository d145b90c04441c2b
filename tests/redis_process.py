"""Start a real Redis on a free port."""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from server_process import eventually, free_port

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="apt-get install redis-server")


@dataclass
class RedisProcess:
    """A Redis that can be killed, suspended and started again."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5)

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        command = ["redis-server", "--port", str(self.port), *options]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        assert eventually(self._answers), (self.folder / "redis.log").read_text()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Let it accept connections and answer nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.ConnectionError), self.client as client:
            return bool(client.ping())
        return False


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[RedisProcess]:
    """Run a Redis until the block ends."""
    server = RedisProcess(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()
