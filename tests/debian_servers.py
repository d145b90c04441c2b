"""PostgreSQL, RabbitMQ and Redis from Debian's packages, as processes on free ports.

A test whose server is not installed is skipped by its name. `kill` and `start` do what their names say to the
same data and port.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_process import RedisProcess, running_redis
from server_process import descendants, eventually, free_port

_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class DebianServer:
    """One server process in a session of its own."""

    def __init__(self, command: list[str], port: int, environment: dict[str, str], user: str | None) -> None:
        self.command, self.port, self.environment, self.user = command, port, environment, user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(
            self.command,
            cwd="/",
            env={**os.environ, **self.environment},
            user=self.user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert eventually(self._answers, 60), self.command

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.command
        return listens(self.port)

    def kill(self) -> None:
        """Kill it with all its processes, at once."""
        assert self.process is not None
        pids = [self.process.pid, *(descendants(self.process.pid) if self.process.poll() is None else ())]
        for pid in pids:  # RabbitMQ's are in several sessions
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        assert eventually(lambda: not listens(self.port)), self.command


@contextlib.contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gitune-"))
    try:
        if user is not None:
            shutil.chown(folder, user, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(server: DebianServer) -> Iterator[DebianServer]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _owner(name: str) -> str | None:
    """Return the user that a server runs as: root may not run it."""
    return name if os.geteuid() == 0 else None


@contextlib.contextmanager
def postgres() -> Iterator[tuple[DebianServer, str]]:
    """A PostgreSQL, and the URL of its database."""
    if not _POSTGRES:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    program, user, port = _POSTGRES[-1], _owner("postgres"), free_port()
    with _folder(user) as folder:
        init = [str(program.with_name("initdb")), "-D", f"{folder}/data", "-U", "gitune", "-A", "trust"]
        subprocess.run([*init, "--no-sync"], check=True, capture_output=True, cwd="/", user=user)
        options = ["-D", f"{folder}/data", "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1"]
        with _running(DebianServer([str(program), *options], port, {}, user)) as server:
            url = f"postgresql://gitune@127.0.0.1:{port}/postgres"
            assert eventually(lambda: _accepts(program, port))
            yield server, url


def _accepts(program: Path, port: int) -> bool:
    check = [str(program.with_name("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(check, check=False).returncode == 0


@contextlib.contextmanager
def redis() -> Iterator[tuple[RedisProcess, str]]:
    """A Redis without persistence, and its URL: what it has is gone when it is killed."""
    if not shutil.which("redis-server"):
        pytest.skip("Redis is not installed: apt-get install redis-server")
    with _folder(None) as folder, running_redis(folder) as server:
        yield server, server.url


@contextlib.contextmanager
def rabbitmq() -> Iterator[tuple[DebianServer, str]]:
    """A RabbitMQ with its own port mapper, and its URL."""
    if not (program := shutil.which("rabbitmq-server")):
        pytest.skip("RabbitMQ is not installed: apt-get install rabbitmq-server")
    user, port, mapper, distribution = _owner("rabbitmq"), free_port(), free_port(), free_port()
    with _folder(user) as folder:
        (folder / "plugins").write_text("[].\n")
        environment = {
            "ERL_EPMD_PORT": str(mapper),
            "HOME": str(folder),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_NODENAME": f"gitune{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
        }
        epmd = [shutil.which("epmd") or "epmd", "-address", "127.0.0.1", "-port", str(mapper)]
        names = DebianServer(epmd, mapper, {}, user)
        with _running(names), _running(DebianServer([program], port, environment, user)) as server:
            yield server, f"amqp://guest:guest@127.0.0.1:{port}//"
