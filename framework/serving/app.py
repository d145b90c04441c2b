"""Run the server: bind the port, start the engine's process, and end both.

uvicorn runs in this process's main thread, so it receives the signals. On the first SIGINT or SIGTERM new
requests are refused and accepted ones are answered; then the engine is ended.
"""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from framework.build.engine.model_folder import context_length
from framework.build.task import open_task
from framework.core.errors import ServeError
from framework.core.release import Release
from framework.core.signals import handling_signals
from framework.serving import API_KEY, Serving
from framework.serving.access.allowance import Allowances
from framework.serving.access.keys import Keys
from framework.serving.answers import Answers
from framework.serving.answers.answer_stack import AnswerStack
from framework.serving.answers.engine_answers import EngineAnswers
from framework.serving.answers.limited import LimitedAnswers
from framework.serving.answers.logged_answers import LoggedAnswers
from framework.serving.answers.noted import Noted
from framework.serving.answers.watched_answers import WatchedAnswers
from framework.serving.api.probes import Probes
from framework.serving.api.service import Service
from framework.serving.api_error import ApiError
from framework.serving.connection import bounded_by
from framework.serving.drift_options import usual
from framework.serving.engine.accepted import Accepted
from framework.serving.engine.model_worker import Settings
from framework.serving.engine.supervisor import EngineSupervisor
from framework.serving.features import Features
from framework.serving.introduction import introduce
from framework.serving.jobs.background import Background
from framework.serving.limits import Limits
from framework.serving.request_log.log_writer import LogWriter
from framework.serving.routes import open_application
from framework.serving.telemetry.drift_watch import DriftWatch
from framework.serving.telemetry.metrics import Metrics

_log = logging.getLogger(__name__)
FILES = 256
"""Open files beside the clients' connections."""
FLUSH_SECONDS = 5
"""Seconds that clients have to read their answers after the last one has ended."""


def run(serving: Serving, limits: Limits, features: Features, folder: Path, release: Release) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        serving: the options of every server.
        limits: what is accepted.
        folder: the model's.
        release: what is served.
        features: what the options turn on beside answering.

    Raises:
        ServeError: the port is taken, the keys or the model cannot be opened, or its process died too often.
    """
    _allow_files(limits.max_connections + FILES)
    with _bind(serving.host, serving.port) as listener:
        server = _Server(serving, limits, features, folder, release)
        logging.getLogger("uvicorn.error").addFilter(_no_second_interrupt)
        # Also before and after uvicorn listens for signals.
        with handling_signals(server.stop):
            server.run(sockets=[listener])
    if server.supervisor.failure:
        raise ServeError(server.supervisor.failure)


class _Server(uvicorn.Server):
    """uvicorn, with a drain before its own shutdown."""

    def __init__(
        self, serving: Serving, limits: Limits, features: Features, folder: Path, release: Release
    ) -> None:
        self.grace_seconds = limits.grace_seconds
        self.accepted = Accepted(limits.max_wait_seconds)
        settings = Settings(
            str(folder),
            release.engine,
            release.task,
            serving.threads,
            serving.max_batch_size,
            serving.batch_timeout,
            {adapter.digest: str(adapter.folder) for adapter in features.adapters.values()},
        )
        self.metrics = Metrics(release)
        self._generates = open_task(release.task).generates
        self.supervisor = EngineSupervisor(settings, self.accepted, self._count_step, limits.engine_timeout)
        self._watch()
        self.introduction = introduce(release, serving.host, serving.port, page=limits.page)
        self.keys = Keys(os.environ.get(API_KEY, "").strip() or None, limits.keys, self._count_reload)
        allowances = Allowances()
        self.stack = AnswerStack(features.cache, self.metrics)
        self.log = None if features.request_log is None else LogWriter(features.request_log, self.metrics)
        self._engine = EngineAnswers(self.accepted, self.metrics, limits.queue_timeout)
        answers = self._answers(features, release, allowances)
        self._background: Background | None = None
        if features.jobs is not None:
            self._background = Background(features.jobs, release.name, folder.absolute().parent, self.metrics)
        context, tell = context_length(folder), self._engine.tell
        service = Service(release, limits, context, answers, tell, self.metrics)
        service.adapters = {name: adapter.digest for name, adapter in features.adapters.items()}
        service.background, service.log = self._background, self.log
        service.keeps_answers = features.cache is not None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0
        self._tasks: set[asyncio.Task[None]] = set()
        probes = Probes(lambda: self.supervisor.alive, self.is_ready, self.metrics)
        app = open_application(service, probes, self.keys, allowances, self._lifespan)
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

    def _answers(self, features: Features, release: Release, allowances: Allowances) -> Answers:
        """Return what answers: the engine, behind everything that the options turn on."""
        watch = DriftWatch(features.drift.window, usual(features.drift))
        self.metrics.watch_drift(watch)
        answers: Answers = WatchedAnswers(self.stack.over(self._engine, release.digest), watch)
        answers = LimitedAnswers(answers, allowances, self.accepted.expected_tokens)
        if self.log is not None and features.request_log is not None:
            answers = LoggedAnswers(answers, self.log, features.request_log.share, release)
        return Noted(answers)

    def is_ready(self) -> bool:
        """Return whether the model answers new requests."""
        return self.supervisor.ready and self.accepted.refusal is None

    def _watch(self) -> None:
        self.metrics.ready.set_function(lambda: float(self.is_ready()))
        self.metrics.watch_memory("server", os.getpid)
        self.metrics.watch_memory("model", lambda: self.supervisor.pid)
        self.metrics.engine_starts.set_function(lambda: float(self.supervisor.starts))

    def _count_step(self, step: dict[str, Any]) -> None:
        """Count one step of the engine; a classifier's texts count their batches themselves."""
        if step["rows"]:
            self.metrics.step_seconds.observe(step["seconds"])
        if self._generates and step["rows"]:
            self.metrics.batch_rows.observe(step["rows"])

    def _count_reload(self, result: str) -> None:
        self.metrics.key_reloads.labels(result).inc()

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
        self._start(self._supervise())
        self._start(self.keys.watch())
        async with contextlib.AsyncExitStack() as stack:
            if self._background is not None:
                await stack.enter_async_context(self._background.running(app.state.unkeyed))
            yield
        await self.supervisor.stop()
        await self.stack.close()
        if self.log is not None:
            await asyncio.to_thread(self.log.close)
        self._loop = None

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self) -> None:
        def announce() -> None:
            for line in self.introduction:
                print(line, file=sys.stderr)

        try:
            await self.supervisor.run(announce)
        except Exception:
            _log.exception("the supervisor failed")
            self.supervisor.failure = "the server cannot start its model's process; the cause is logged above"
        if self.supervisor.failure:
            self.accepted.fail_all(ApiError(503, "The model's process failed; see the server's log"))
        self.should_exit = True

    async def _drain(self) -> None:
        """Refuse new requests, and answer the accepted ones within the grace time."""
        stopping = "The server is shutting down; retry, another one may answer"
        self.accepted.refusal = ApiError(503, stopping, code="shutting_down", retry_after=1)
        accepted, ends = len(self.accepted), asyncio.get_running_loop().time() + self.grace_seconds
        while self.accepted and not self.should_exit and self._signals == 1:
            if asyncio.get_running_loop().time() >= ends:
                break
            await asyncio.sleep(0.02)
        # Unlike a request that is refused, one that was accepted has failed.
        late = ApiError(503, "The server ended before this request did; retry it", code="cut", retry_after=1)
        refusal, cut = self.accepted.refusal, self.accepted.fail_all(late)
        self.accepted.refusal = refusal
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
