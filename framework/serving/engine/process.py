"""``python -m framework.serving.engine.process``: the process that holds the model.

``framework.serving.engine.supervisor`` starts it with a socket. Both sides write JSON lines. The server
sends ``{"number", "request"}``, ``{"number"}``, which cancels, and ``{"ping"}``. This process sends
``{"ready"}`` or ``{"failure"}`` once, then the steps of its worker, and ``{"alive"}`` for each ping that its
loop has read. It ends when the server has closed the socket.
"""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from framework.build.task import open_task
from framework.core.errors import FrameworkError
from framework.core.signals import ignore_signals
from framework.serving.api_error import ApiError, error_event
from framework.serving.engine.chat_worker import ChatWorker
from framework.serving.engine.classify_worker import ClassifyWorker
from framework.serving.engine.embed_worker import EmbedWorker
from framework.serving.engine.entity_worker import EntityWorker
from framework.serving.engine.model_worker import FAULT, ModelWorker, Settings, Step
from framework.serving.engine.told import Told, tell

_log = logging.getLogger(__name__)
PING = 0
"""In place of a request's number: the loop shall show that it goes on."""


def main(settings: str, descriptor: str) -> NoReturn:
    """Open the model and answer requests until the server closes the socket.

    Args:
        settings: the fields of ``Settings`` as JSON.
        descriptor: the number of the socket.
    """
    ignore_signals()  # they are sent to the whole group; the server ends this process
    with socket.socket(fileno=int(descriptor)) as channel, channel.makefile("r", encoding="utf-8") as lines:
        process = EngineProcess(channel)
        threading.Thread(target=process.read, args=(lines,), daemon=True).start()
        try:
            process.serve(Settings(**json.loads(settings)))
        except FrameworkError as error:
            process.send({"failure": str(error)})
        except Exception:
            _log.exception("the engine's process failed")
        # Not a normal exit: the reader thread is blocked, and runtimes may not end their own threads.
        sys.stderr.flush()
        os._exit(1)


def open_worker(settings: Settings) -> ModelWorker:
    """Open the model with the worker of its task.

    Raises:
        ConfigError: the task is unknown.
        ServeError: the model cannot be opened.
    """
    task = open_task(settings.task)
    if task.generates:
        return ChatWorker(settings)
    if task.embeds:
        return EmbedWorker(settings)
    return (EntityWorker if task.labels_words else ClassifyWorker)(settings)


class EngineProcess:
    """Hands requests from the socket to the worker, and its events back."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._inbox: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._worker: ModelWorker | None = None

    def serve(self, settings: Settings) -> NoReturn:
        """Answer requests.

        Raises:
            FrameworkError: the model cannot be opened, or its runtime failed.
        """
        worker = open_worker(settings)
        rate = worker.warm_up()
        self._worker = worker
        ready = {"rate": rate, "width": worker.width, "window": worker.window}
        can = asdict(worker.abilities())
        self.send({"ready": {**ready, "can": can, "longest_call": worker.longest_call(rate)}})
        while True:
            step = Step()
            for number, request in self._taken(worker.patience()):
                if number == PING:
                    self.send({"alive": True})
                else:
                    self._hand_over(worker, number, request, step)
            if worker.patience() == 0:
                done = worker.step()
                done.events[:0] = step.events
                step = done
            if step.events or step.rows:
                self.send(asdict(step))

    def _hand_over(self, worker: ModelWorker, number: int, request: Any, step: Step) -> None:
        if request is None:
            worker.cancel(number)
        elif isinstance(request, ApiError):
            step.events.append((number, error_event(request)))
        elif isinstance(request, Told):
            step.events.append((number, request.event))
        else:
            worker.add(number, request)

    def _taken(self, patience: float | None) -> Iterator[tuple[int, Any]]:
        """Yield what has arrived; wait up to *patience* seconds for a first request, None for any time."""
        try:
            yield self._inbox.get(block=patience != 0, timeout=patience or None)
            while True:
                yield self._inbox.get_nowait()
        except Empty:
            return

    def read(self, lines: Iterable[str]) -> None:
        """Turn the server's lines into requests; end the process when there are no more.

        Tokenizing here, in a thread of its own, keeps running answers going.
        """
        try:
            for line in lines:
                self._take(json.loads(line))
        except (OSError, ValueError):
            pass  # the server was killed: within a line, or before it had read ours
        except Exception:
            _log.exception("the engine's process cannot read requests any more")
        os._exit(0)

    def _take(self, message: dict[str, Any]) -> None:
        if "ping" in message:
            self._inbox.put((PING, None))
            return
        if "request" not in message:
            self._inbox.put((message["number"], None))
            return
        assert self._worker is not None, "the server sends nothing before it has read 'ready'"
        request: Any
        payload = message["request"]
        try:
            if isinstance(payload, dict) and not payload.keys().isdisjoint(("tokenize", "detokenize")):
                request = tell(self._worker.tokenizer, payload)
            else:
                request = self._worker.read(payload)
        except ApiError as error:
            request = error
        except Exception:
            _log.exception("a request could not be read")
            request = ApiError(500, FAULT)
        self._inbox.put((message["number"], request))

    def send(self, message: dict[str, Any]) -> None:
        """Send one line; end the process if the server is gone."""
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
