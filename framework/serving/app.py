"""Run the server: bind the port, start the engine's process, and end both.

uvicorn runs in this process's main thread, so it receives the signals. On the first SIGINT or SIGTERM new
requests are refused and accepted ones are answered; then the engine is ended.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from framework.build.task import open_task
from framework.core.errors import FrameworkError, ServeError
from framework.core.release import Release
from framework.core.signals import handling_signals
from framework.serving import Renewed, Serving
from framework.serving.answers.answer_stack import AnswerStack
from framework.serving.answers.cache_options import CacheOptions
from framework.serving.answers.fallback_options import FallbackOptions
from framework.serving.api.probes import Probes
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.limits import Limits
from framework.serving.routes import open_application
from framework.serving.served_model import ServedModel
from framework.serving.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
FLUSH_SECONDS = 5
"""Seconds that clients have to read their answers after the last one has ended."""


def run(
    serving: Serving,
    limits: Limits,
    folder: Path,
    release: Release,
    cache: CacheOptions | None = None,
    fallback: FallbackOptions | None = None,
    renewed: Renewed | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ServeError: the port is taken, the model cannot be opened, or its process died too often.
    """
    signals = () if renewed is None else (signal.SIGHUP,)
    with _bind(serving.host, serving.port) as listener:
        server = _Server(serving, limits, folder, release, cache, fallback, renewed)
        logging.getLogger("uvicorn.error").addFilter(_no_second_interrupt)
        # Also before and after uvicorn listens for signals.
        with handling_signals(server.stop), handling_signals(server.reload, signals):
            server.run(sockets=[listener])
    if server.model.supervisor.failure:
        raise ServeError(server.model.supervisor.failure)


class _Server(uvicorn.Server):
    """uvicorn, with a drain before its own shutdown."""

    def __init__(
        self,
        serving: Serving,
        limits: Limits,
        folder: Path,
        release: Release,
        cache: CacheOptions | None,
        fallback: FallbackOptions | None,
        renewed: Renewed | None,
    ) -> None:
        self.serving, self.limits = serving, limits
        self.metrics = Metrics(release)
        self.stack = AnswerStack(cache, fallback, self.metrics)
        self.model = self._served(folder, release)
        self.models = [self.model]
        """The model that answers new requests, and others that still have some or are being started."""
        self._watch()
        self.address = f"http://{serving.host}:{serving.port}"
        model = self.model
        service = self.service = Service(release, limits, model.context, model.answers, self.metrics)
        service.keeps_answers = cache is not None
        self._renewed, self._first_folder = renewed, folder
        self._reloading = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self._tasks: set[asyncio.Task[None]] = set()
        app = open_application(service, Probes(self.is_ready, self.metrics), self._lifespan)
        super().__init__(
            uvicorn.Config(
                app, log_level="warning", access_log=False, timeout_graceful_shutdown=FLUSH_SECONDS
            )
        )

    def is_ready(self) -> bool:
        """Return whether the model answers new requests."""
        return self.model.is_ready

    def _served(self, folder: Path, release: Release) -> ServedModel:
        return ServedModel(self.serving, self.limits, folder, release, self.metrics, self.stack)

    def _watch(self) -> None:
        self.metrics.ready.set_function(lambda: float(self.is_ready()))
        self.metrics.watch_memory("server", os.getpid)
        self.metrics.watch_memory("model", lambda: self.model.supervisor.pid)
        self.metrics.engine_starts.set_function(lambda: float(self.model.supervisor.starts))

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

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        self._start(self._supervise(self.model, self._announce))
        yield
        for model in self.models:
            await model.supervisor.stop()
        await self.stack.close()
        self._loop = None

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _announce(self) -> None:
        print(f"serving {self.model.release.name} on {self.address}; Ctrl-C stops", file=sys.stderr)

    async def _supervise(self, model: ServedModel, on_ready: Callable[[], object]) -> None:
        """Run a model's engine to its end; if it is the one that answers, the server ends with it."""
        supervisor = model.supervisor
        try:
            await supervisor.run(on_ready)
        except Exception:
            _log.exception("the supervisor failed")
            supervisor.failure = "the server cannot start its model's process; the cause is logged above"
        if supervisor.failure:
            model.accepted.fail_all(ApiError(503, "The model's process failed; see the server's log"))
        if model is self.model:
            self.should_exit = True

    async def _drain(self) -> None:
        """Refuse new requests, and answer the accepted ones within the grace time."""
        stopping = "The server is shutting down; retry, another one may answer"
        refusal = ApiError(503, stopping, code="shutting_down", retry_after=1)
        for model in self.models:
            model.accepted.refusal = refusal
        accepted = sum(len(model.accepted) for model in self.models)
        ends = asyncio.get_running_loop().time() + self.limits.grace_seconds
        while any(model.accepted for model in self.models) and not self.should_exit and self._signals == 1:
            if asyncio.get_running_loop().time() >= ends:
                break
            await asyncio.sleep(0.02)
        cut = sum(model.accepted.fail_all(refusal) for model in self.models)
        if accepted:
            advice = "; raise serving.grace_seconds to let them end" if cut else ""
            print(
                f"stopped: {accepted - cut} accepted requests ended, {cut} were cut{advice}",
                file=sys.stderr,
            )
        self.should_exit = True

    def reload(self, number: int) -> None:
        """Begin to take another release, on SIGHUP."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._start, self._reload())

    async def _reload(self) -> None:
        """Take the release that there is now; without one that works, go on with the one before."""
        async with self._reloading:  # one after another
            serves = f"{self.model.release.name} {_short(self.model.release)} goes on"
            assert self._renewed is not None
            try:
                release, folder = await asyncio.to_thread(self._renewed)
                if release.digest == self.model.release.digest:
                    print(f"reload: the model is the same; {serves}", file=sys.stderr)
                    return
                model = await self._started(folder, release)
            except FrameworkError as error:
                print(f"reload: {error}; {serves}", file=sys.stderr)
                return
            if self._signals:
                return  # it drains all models
            await self._switch(model)

    async def _started(self, folder: Path, release: Release) -> ServedModel:
        """Return the model when its engine answers.

        Raises:
            ServeError: it has other routes, or cannot be opened.
        """
        new, old = open_task(release.task), open_task(self.model.release.task)
        if (new.generates, new.reads_images) != (old.generates, old.reads_images):
            raise ServeError(f"its task '{release.task}' has other routes; start the server again")
        model = self._served(folder, release)
        self.models.append(model)
        ready = asyncio.Event()
        running = asyncio.ensure_future(self._supervise(model, ready.set))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not ready.is_set():
            self.models.remove(model)
            raise ServeError(model.supervisor.failure or "its engine has ended")
        self._tasks.add(running)
        running.add_done_callback(self._tasks.discard)
        return model

    async def _switch(self, model: ServedModel) -> None:
        """Let *model* answer new requests, and end the one before when its requests have ended."""
        old, self.model = self.model, model
        self.service.serve(model.release, model.context, model.answers)
        self.metrics.introduce(model.release)
        begun = set(self.service.under_way)
        print(
            f"reload: serving {model.release.name} {_short(model.release)}; {len(begun)} requests of "
            f"{_short(old.release)} go on",
            file=sys.stderr,
        )
        # A request may not have reached the queue yet, so those in the middleware count, too.
        while old.accepted or begun & self.service.under_way:
            await asyncio.sleep(0.02)
        self.models.remove(old)
        await old.supervisor.stop()
        if old.folder != self._first_folder:  # fetched for a reload
            await asyncio.to_thread(shutil.rmtree, old.folder, ignore_errors=True)


def _short(release: Release) -> str:
    """Return the first digits of a release's digest."""
    return release.digest.removeprefix("sha256:")[:12]


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
