"""Keeps the engine's process running: starts it, talks to it, and starts another when it has died."""

import asyncio
import json
import math
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from framework.core.signals import describe_exit
from framework.serving.engine.accepted import Accepted
from framework.serving.engine.model_worker import Abilities, Settings
from framework.serving.engine.pulse import Pulse, cpu_seconds

DEATHS = 3
"""After so many deaths without an answer in between, the server gives up; its pod is started again."""
LINE = 2**26
"""Most bytes of one message of the engine."""
PING = b'{"ping": true}\n'
"""Asks the engine's loop for a sign of life."""
KILL_SECONDS = 30
"""A process that has not ended so long after it was killed is stuck in the kernel."""
_LOADS = 10
"""A process that is started again may compute so many times as long as the first until it answers."""


class EngineSupervisor:
    """The engine's process, and those that follow it."""

    def __init__(
        self,
        settings: Settings,
        accepted: Accepted,
        on_step: Callable[[dict[str, Any]], object],
        timeout: float,
    ) -> None:
        """Start nothing yet.

        Args:
            settings: of the process.
            accepted: the requests that it gets.
            on_step: called with each of its steps.
            timeout: seconds without a sign of life after which it is killed.
        """
        self._settings, self._accepted, self._on_step = settings, accepted, on_step
        self._timeout = timeout
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = self._ended = False
        self._killed_at: float | None = None
        self._deaths = 0
        self._load_seconds, self._longest_call = 1.0, 0.0
        self.ready = False
        """Whether the engine answers."""
        self.starts = 0
        """How often an engine has become ready."""
        self.can: Abilities | None = None
        """What the engine can do; None until it has been ready."""
        self.failure: str | None = None
        """Why no engine runs any more."""

    @property
    def pid(self) -> int:
        """The process of the model; 0 until it has started."""
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether an engine runs, or will run without help: neither given up, nor stuck."""
        stuck = self._killed_at is not None and time.monotonic() - self._killed_at > KILL_SECONDS
        return not self._ended and not stuck

    async def run(self, on_ready: Callable[[], object]) -> None:
        """Keep an engine running until ``stop``; ``failure`` tells why it ended otherwise.

        Args:
            on_ready: called when the first engine answers.
        """
        try:
            await self._run(on_ready)
        finally:
            self._ended = True

    async def _run(self, on_ready: Callable[[], object]) -> None:
        while not self._stopping:
            reason = await self._one_life(on_ready)
            if self._stopping:
                return
            self._deaths += 1
            if self.starts == 0 or self._deaths > DEATHS:
                self.failure = reason
                return
            retry_after = max(1, math.ceil(self._load_seconds))
            failed, kept = self._accepted.lost_engine(retry_after)
            print(
                f"{reason}; starting it again: {failed} running requests failed, {kept} waiting ones go on",
                file=sys.stderr,
            )
            await asyncio.sleep(self._deaths - 1)

    async def stop(self) -> None:
        """End the process."""
        self._stopping = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _one_life(self, on_ready: Callable[[], object]) -> str:
        """Start a process, pass messages until it has ended, and return why."""
        process, reader, writer = await self._start()
        pulse = Pulse(self._timeout, lambda: cpu_seconds(process.pid))
        said = None
        async with asyncio.TaskGroup() as group:  # none of the two goes on without the other
            watch = group.create_task(self._watch(process, pulse, writer))
            try:
                said = await self._read(reader, writer, pulse, on_ready)
            except ConnectionError:
                pass  # it has died
            finally:
                self.ready = False
                self._accepted.pause()
                watch.cancel()
                writer.close()
        code = await process.wait()
        self._killed_at = None
        if said is not None:
            return said
        if code == -signal.SIGTERM and self.starts == 0:
            self._stopping = True  # it was ended before it could ignore that
        when = "while serving" if self.starts else "while loading the model"
        if pulse.hangs:
            return f"the model's process gave no sign of life for {self._timeout:g} s {when} and was killed"
        return f"the model's process {describe_exit(code)} {when}"

    async def _start(
        self,
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.StreamWriter]:
        """Start a process; return it, with the two ends of its messages."""
        ours, theirs = socket.socketpair()
        flags = [f"-W{option}" for option in sys.warnoptions]
        module = ["-P", "-m", "framework.serving.engine.process"]
        arguments = [json.dumps(asdict(self._settings)), str(theirs.fileno())]
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *flags, *module, *arguments),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the server alone
            )
        return self._process, *await asyncio.open_connection(sock=ours, limit=LINE)

    async def _read(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pulse: Pulse,
        on_ready: Callable[[], object],
    ) -> str | None:
        """Pass messages on until the process has closed its end; return why it did, if it says so."""
        started, said = time.monotonic(), None
        while line := await reader.readline():
            pulse.heard()
            message = json.loads(line)
            if "ready" in message:
                self._load_seconds = time.monotonic() - started
                self._accept(writer, message["ready"], on_ready)
            elif "failure" in message:
                said = str(message["failure"])
            elif "events" in message:
                self._deaths = 0
                self._on_step(message)
                self._accepted.received(message)
        return said

    async def _watch(
        self, process: asyncio.subprocess.Process, pulse: Pulse, writer: asyncio.StreamWriter
    ) -> None:
        """Kill a process that hangs."""
        while True:
            await asyncio.sleep(pulse.period)
            if self.ready:
                writer.write(PING)
                longest = self._longest_call
            else:  # the first start is bounded by the pod's startup probe, or by a person
                longest = _LOADS * self._load_seconds if self.starts else math.inf
            if pulse.look(longest):
                self._killed_at = time.monotonic()
                with suppress(ProcessLookupError):
                    process.kill()
                return

    def _accept(
        self, writer: asyncio.StreamWriter, ready: dict[str, Any], on_ready: Callable[[], object]
    ) -> None:
        def send(message: dict[str, Any]) -> None:
            writer.write(json.dumps(message).encode() + b"\n")

        self.ready = True
        self._longest_call, self.can = ready["longest_call"], Abilities(**ready["can"])
        self.starts += 1
        if self.starts == 1:
            on_ready()
        self._accepted.started(send, ready["rate"], ready["width"], ready["window"])
