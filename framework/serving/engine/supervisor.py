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
from framework.serving.engine.model_worker import Settings

DEATHS = 3
"""After so many deaths without an answer in between, the server gives up; its pod is started again."""
LINE = 2**26
"""Most bytes of one message of the engine."""


class EngineSupervisor:
    """The engine's process, and those that follow it."""

    def __init__(
        self, settings: Settings, accepted: Accepted, on_step: Callable[[dict[str, Any]], object]
    ) -> None:
        self._settings, self._accepted, self._on_step = settings, accepted, on_step
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._deaths = 0
        self._load_seconds = 1.0
        self.ready = False
        """Whether the engine answers."""
        self.starts = 0
        """How often an engine has become ready."""
        self.failure: str | None = None
        """Why no engine runs any more."""

    @property
    def pid(self) -> int:
        """The process of the model; 0 until it has started."""
        return 0 if self._process is None else self._process.pid

    async def run(self, on_ready: Callable[[], object]) -> None:
        """Keep an engine running until ``stop``; ``failure`` tells why it ended otherwise.

        Args:
            on_ready: called when the first engine answers.
        """
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
        started = time.monotonic()
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
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE)
        said = None
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if "ready" in message:
                    self._load_seconds = time.monotonic() - started
                    self._accept(writer, message["ready"], on_ready)
                elif "failure" in message:
                    said = message["failure"]
                else:
                    self._deaths = 0
                    self._on_step(message)
                    self._accepted.received(message)
        except ConnectionError:
            said = None  # it has died
        finally:
            self.ready = False
            writer.close()
        code = await self._process.wait()
        if said is not None:
            return str(said)
        if code == -signal.SIGTERM and self.starts == 0:
            self._stopping = True  # it was ended before it could ignore that
        when = "while serving" if self.starts else "while loading the model"
        return f"the model's process {describe_exit(code)} {when}"

    def _accept(
        self, writer: asyncio.StreamWriter, ready: dict[str, Any], on_ready: Callable[[], object]
    ) -> None:
        def send(message: dict[str, Any]) -> None:
            writer.write(json.dumps(message).encode() + b"\n")

        self.ready = True
        self.starts += 1
        if self.starts == 1:
            on_ready()
        self._accepted.started(send, ready["rate"], ready["width"], ready["window"])
