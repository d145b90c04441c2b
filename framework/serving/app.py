"""Run the server: bind the port, start the engine's process, and end both.

uvicorn runs in this process's main thread, so it receives the signals. On the first SIGINT or SIGTERM new
requests are refused and accepted ones are answered; then the engine is ended. On SIGHUP another release takes
the place of this one.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from framework.core.errors import ServeError
from framework.core.release import Release
from framework.core.signals import handling_signals
from framework.serving import API_KEY, Renewed, Serving
from framework.serving.access.keys import Keys
from framework.serving.answer_stack import AnswerStack
from framework.serving.api.probes import Probes
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.connection import bounded_by
from framework.serving.features import Features
from framework.serving.introduction import introduce
from framework.serving.jobs.background import Background
from framework.serving.limits import Limits
from framework.serving.routes import open_application
from framework.serving.served_model import ServedModel
from framework.serving.served_models import ServedModels
from framework.serving.telemetry.metrics import Metrics

FILES = 256
"""Open files beside the clients' connections."""
FLUSH_SECONDS = 5
"""Seconds that clients have to read their answers after the last one has ended."""


def run(
    serving: Serving,
    limits: Limits,
    features: Features,
    folder: Path,
    release: Release,
    renewed: Renewed | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        serving: the options of every server.
        limits: what is accepted.
        features: what the options turn on beside answering.
        folder: the model's.
        release: what is served.
        renewed: returns the release to serve after SIGHUP; None leaves that signal alone.

    Raises:
        ServeError: the port is taken, the keys or the model cannot be opened, or its process died too often.
    """
    _allow_files(limits.max_connections + FILES)
    signals = () if renewed is None else (signal.SIGHUP,)
    with _bind(serving.host, serving.port) as listener:
        server = _Server(serving, limits, features, folder, release, renewed)
        logging.getLogger("uvicorn.error").addFilter(_no_second_interrupt)
        # Also before and after uvicorn listens for signals.
        with handling_signals(server.stop), handling_signals(server.reload, signals):
            server.run(sockets=[listener])
    if failure := server.models.current.supervisor.failure:
        raise ServeError(failure)


class _Server(uvicorn.Server):
    """uvicorn, with a drain before its own shutdown."""

    def __init__(
        self,
        serving: Serving,
        limits: Limits,
        features: Features,
        folder: Path,
        release: Release,
        renewed: Renewed | None,
    ) -> None:
        self._limits, self._features, self._renewed = limits, features, renewed
        self.metrics = Metrics(release)
        self.metrics.adapters.expect(features.adapters)
        self.stack = AnswerStack(features, self.metrics, release, limits.queue_timeout)
        open_model = partial(ServedModel, serving, limits, features, self.stack, self.metrics)
        self.models = ServedModels(open_model, folder, release, self._end)
        self._watch()
        self._serving = serving
        self._keys = Keys(
            os.environ.get(API_KEY, "").strip() or None, limits.keys, self.metrics.keys.reloaded
        )
        self._background: Background | None = None
        if features.jobs is not None:
            self._background = Background(features.jobs, release.name, folder.absolute().parent, self.metrics)
        self._service = self._shared()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self._tasks: set[asyncio.Task[None]] = set()
        probes = Probes(lambda: self.models.current.supervisor.alive, self.is_ready, self.metrics)
        app = open_application(self._service, probes, self._keys, self.stack.allowances, self._lifespan)
        super().__init__(
            uvicorn.Config(
                app,
                http=bounded_by(limits),
                ws="none",
                log_level="warning",
                access_log=False,
                timeout_keep_alive=limits.keep_alive_seconds,
                timeout_graceful_shutdown=FLUSH_SECONDS,
            )
        )

    def _shared(self) -> Service:
        """Return what the routes share."""
        model = self.models.current
        return Service(
            model.release,
            self._limits,
            model.context,
            model.answers,
            model.tell,
            self.metrics,
            background=self._background,
            keeps_answers=self._features.cache is not None,
            log=self.stack.observed.log,
            tracing=self.stack.observed.tracing,
            can=lambda: self.models.current.supervisor.can,
            adapters={name: adapter.digest for name, adapter in self._features.adapters.items()},
        )

    def is_ready(self) -> bool:
        """Return whether the model answers new requests."""
        return self.models.current.is_ready

    def _watch(self) -> None:
        self.metrics.ready.set_function(lambda: float(self.is_ready()))
        self.metrics.watch_memory("server", os.getpid)
        self.metrics.watch_memory("model", lambda: self.models.current.supervisor.pid)
        self.metrics.engine_starts.set_function(lambda: float(self.models.current.supervisor.starts))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on a signal; uvicorn calls it."""
        self.stop(sig)

    def stop(self, number: int) -> None:
        """Begin to drain; a second signal ends the drain."""
        self._signals += 1
        if self._loop is None:
            self.should_exit = True
        elif self._signals == 1:
            self._loop.call_soon_threadsafe(self._start, self._drain())

    def reload(self, number: int) -> None:
        """Begin to take another release, on SIGHUP."""
        if self._loop is not None and self._renewed is not None:
            work = self.models.reload(self._renewed, self._service, self._features)
            self._loop.call_soon_threadsafe(self._start, work)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._start(self.models.run(self._announce))
        self._start(self._keys.watch())
        async with contextlib.AsyncExitStack() as stack:
            if self._background is not None:
                await stack.enter_async_context(
                    self._background.running(app.state.unkeyed, self._keys.caller_named)
                )
            yield
        await self.models.stop()
        await self.stack.close()
        self._loop = None

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self) -> None:
        self.should_exit = True

    def _announce(self) -> None:
        host, port = self._serving.host, self._serving.port
        for line in introduce(self.models.current.release, host, port, page=self._limits.page):
            print(line, file=sys.stderr)

    async def _drain(self) -> None:
        """Refuse new requests, and answer the accepted ones within the grace time."""
        stopping = "The server is shutting down; retry, another one may answer"
        self.models.refuse(ApiError(503, stopping, code="shutting_down", retry_after=1))
        accepted = self.models.unanswered
        ends = asyncio.get_running_loop().time() + self._limits.grace_seconds
        while self.models.unanswered and not self.should_exit and self._signals == 1:
            if asyncio.get_running_loop().time() >= ends:
                break
            await asyncio.sleep(0.02)
        # Unlike a request that is refused, one that was accepted has failed.
        late = "The server ended before this request did; retry it"
        cut = self.models.cut(ApiError(503, late, code="cut", retry_after=1))
        if accepted:
            advice = "; raise serving.grace_seconds to let them end" if cut else ""
            print(
                f"stopped: {accepted - cut} accepted requests ended, {cut} were cut{advice}",
                file=sys.stderr,
            )
        self.should_exit = True


def _no_second_interrupt(record: logging.LogRecord) -> bool:
    """Drop the traceback that uvicorn logs when Ctrl-C is pressed twice."""
    return "CancelledError" not in record.getMessage()


def _allow_files(number: int) -> None:
    """Allow this process *number* open files, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


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
