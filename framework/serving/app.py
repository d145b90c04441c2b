"""Run the server: bind the port, start the worker, and shut both down. It imports litserve.

litserve provides the worker process and the queues. uvicorn runs in this process's main thread, so it
receives the signals: on SIGTERM it finishes the running answers, then the children are killed.
"""
# ruff: noqa: TID253

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import litserve
import uvicorn
from litserve.specs.base import LitSpec
from litserve.utils import WorkerSetupStatus, wrap_litserve_start

from framework.build.task import open_task
from framework.core.errors import ServeError
from framework.core.release import Release
from framework.core.signals import handling_signals
from framework.serving import Serving
from framework.serving.entity_worker import EntityWorker
from framework.serving.model_worker import ChatWorker, ClassifyWorker, GatheringLoop, Shared
from framework.serving.routes import CHAT, CLASSIFY, ChatService

MAX_BODY = 4 * 2**20
"""Most bytes of a request's body; a larger one is answered with 413."""


class _Routed(LitSpec):  # type: ignore[misc]
    """Keeps litserve from adding a route of its own; ``framework.serving.routes`` has them."""

    def __init__(self, path: str, streams: bool) -> None:
        super().__init__()
        self.api_path = path
        self.streams = streams

    @property
    def stream(self) -> bool:
        """Whether answers are streamed."""
        return self.streams


def run(serving: Serving, folder: Path, release: Release, grace_seconds: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ServeError: the port is taken, the model cannot be opened, or its process died.
    """
    stopping = threading.Event()
    with handling_signals(lambda number: stopping.set()):
        shared = Shared()
        server = _litserver(serving, folder, release, shared)
        service = ChatService(server, release, serving.max_new_tokens, shared)
        service.open()
        with wrap_litserve_start(server), _workers_killed(server):
            shared.queues_pid.value = server.manager._process.pid
            # Bound after the children have started, so that none of them inherits the port.
            with _bind(serving.host, serving.port) as listener:
                config = uvicorn.Config(
                    server.app,
                    log_level="warning",
                    access_log=False,
                    timeout_graceful_shutdown=grace_seconds,
                )
                http = uvicorn.Server(config)
                logging.getLogger("uvicorn.error").addFilter(_no_second_interrupt)
                watch = _Watch(server, service, http, stopping, f"http://{serving.host}:{serving.port}")
                watch.start()
                http.run(sockets=[listener])
                stopping.set()
                watch.join()
    if watch.failure:
        raise ServeError(watch.failure)


def _litserver(serving: Serving, folder: Path, release: Release, shared: Shared) -> Any:
    options: dict[str, Any] = {"spec": _Routed(CHAT, streams=True)}
    kind: type[Any] = ChatWorker
    task = open_task(release.task)
    if not task.generates:
        kind = EntityWorker if task.labels_words else ClassifyWorker
        options = {
            "spec": _Routed(CLASSIFY, streams=False),
            "loop": GatheringLoop(),
            "max_batch_size": serving.max_batch_size,
            "batch_timeout": serving.batch_timeout,
        }
    worker = kind(folder, release.engine, serving.threads, shared, **options)
    return litserve.LitServer(
        worker,
        accelerator="cpu",
        timeout=False,
        healthcheck_path="/litserve/health",
        info_path="/litserve/info",
        disable_openapi_url=True,
        max_payload_size=MAX_BODY,
    )


class _Watch(threading.Thread):
    """Announces that the model is ready, and stops the server when the worker has died."""

    def __init__(
        self, server: Any, service: ChatService, http: uvicorn.Server, stopping: threading.Event, address: str
    ) -> None:
        super().__init__(daemon=True)
        self.server, self.service, self.http = server, service, http
        self.stopping = stopping
        self.address = address
        self.failure: str | None = None

    def run(self) -> None:
        """Poll until the server stops."""
        (worker,) = self.server.inference_workers
        ready = False
        while not self.stopping.is_set():
            if wait([worker.sentinel], timeout=0.1):
                self.failure = self._failure(worker, ready)
                self.service.ready = lambda: False
                self.service.fail_all()
                self.http.should_exit = True
                return
            if not ready and WorkerSetupStatus.READY in self.server.workers_setup_status.values():
                ready = True
                self.service.ready = lambda: True
                print(f"serving {self.service.release.name} on {self.address}; Ctrl-C stops", file=sys.stderr)
        self.http.should_exit = True  # the signal may have come just before uvicorn listened for it

    def _failure(self, worker: Any, ready: bool) -> str | None:
        """Return why the worker ended; None if SIGTERM ended it before it could ignore that."""
        if self.service.shared.failure.poll():
            return str(self.service.shared.failure.recv())
        worker.join()
        if worker.exitcode == -signal.SIGTERM:
            return None
        when = "while serving" if ready else "while loading the model"
        return (
            f"the model's process ended {when} (exit code {worker.exitcode}); "
            "-9 usually means too little memory, other causes are logged above"
        )


@contextlib.contextmanager
def _workers_killed(server: Any) -> Iterator[None]:
    """Kill the workers; they ignore the SIGTERM that litserve sends, and it would wait forever."""
    try:
        yield
    finally:
        for worker in server.inference_workers:
            worker.kill()


def _no_second_interrupt(record: logging.LogRecord) -> bool:
    """Drop the traceback that uvicorn logs when Ctrl-C is pressed twice."""
    return "CancelledError" not in record.getMessage()


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket.

    Raises:
        ServeError: the port is taken, or there is no such address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], address[1]), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ServeError(
            f"cannot listen on {host}:{port}: {reason}; free the port, or set serving.port or serving.host"
        ) from None
