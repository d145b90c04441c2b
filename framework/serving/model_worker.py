"""The worker process that runs the model under litserve: one class for chat, one for classifiers.

It imports litserve, so only ``framework.serving.app`` imports it. It knows the queue's payloads; HTTP
belongs to the server process.
"""
# ruff: noqa: TID253

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from queue import Empty
from typing import Any

# litserve pickles the API object for the worker, so its class must be importable.
import litserve
from litserve.loops import LitLoop
from litserve.utils import LitAPIStatus, LoopResponseType

from framework.build.data.turns import Message
from framework.build.engine import Classifies, Engine, Generates, Sampling, open_engine, require
from framework.build.engine.model_folder import context_length, label_names, read_json
from framework.build.model.template_checks import refuse_lost_turns
from framework.core.errors import DataError, FrameworkError, ServeError
from framework.core.signals import ignore_signals
from framework.serving.openai_api import ApiError
from framework.serving.tokenization import open_tokenizer, prompt_ids, streamed_text, until_stop

_log = logging.getLogger(__name__)
SLOTS = 4096
"""Cancellation flags, more than requests can wait at once; a slot is reused after so many requests."""


class Shared:
    """Memory shared by the server and its worker; passed to the worker when it starts."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.cancelled = spawn.RawArray("b", SLOTS)
        self.queues_pid = spawn.RawValue("i", 0)
        """The process of litserve's queues."""
        self.model_pid = spawn.RawValue("i", 0)
        """The model's process; 0 until it has started."""
        self.failure, self.report = spawn.Pipe(duplex=False)
        """Carries the message why the worker could not start."""


class _Worker(litserve.LitAPI):  # type: ignore[misc]
    """Common to both kinds: open the model, report failures, end with the server."""

    engine: Engine
    tokenizer: Any
    context: int | None

    def __init__(self, folder: Path, engine: str, threads: int, shared: Shared, **options: Any) -> None:
        super().__init__(**options)
        self.folder, self.engine_name, self.threads = folder, engine, threads
        self.shared = shared

    def setup(self, device: str) -> None:
        """Open the folder and answer once; only then is the server ready."""
        ignore_signals()  # they are sent to the whole group; the server ends the worker
        self.shared.model_pid.value = os.getpid()
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        os.environ["HF_HUB_OFFLINE"] = "1"
        try:
            self.tokenizer = open_tokenizer(self.folder)
            self.context = context_length(self.folder)
            self.engine = open_engine(self.engine_name, self.folder, self.threads)
            self.warm_up()
        except FrameworkError as error:
            self.shared.report.send(str(error))
            raise SystemExit(1) from None

    @abstractmethod
    def warm_up(self) -> None:
        """Answer once."""

    def decode_request(self, request: Any) -> Any:
        """Return the queue's payload unchanged."""
        return request

    def encode_response(self, output: Any) -> Any:
        """Return the output of ``predict`` unchanged."""
        return output

    def _end_with_parent(self) -> None:
        """End this process and the queues when the server was killed and could not end its children."""
        parent = multiprocessing.parent_process()
        if parent is not None:
            wait([parent.sentinel])
            with contextlib.suppress(ProcessLookupError):
                # Not SIGTERM: that process was forked from the server and has the server's handler for it.
                os.kill(self.shared.queues_pid.value, signal.SIGKILL)
            os._exit(1)


class ChatWorker(_Worker):
    """Generates one answer after another."""

    def warm_up(self) -> None:
        """Produce a first token."""
        if not self.tokenizer.chat_template:
            raise ServeError(f"{self.folder}: the tokenizer has no chat template; add chat_template.jinja")
        ids = prompt_ids(self.tokenizer, [{"role": "user", "content": "Hi"}])
        for _ in require(self.engine, Generates).generate(ids, 1):
            break

    def predict(self, x: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield ``prompt_tokens``, then pieces of ``text``, then ``finish_reason``; or one ``error``.

        Stops once the client has disconnected.
        """
        if self.shared.cancelled[x["slot"]]:
            return
        try:
            ids, limit = self._prompt(x)
        except ApiError as error:
            yield {"status": error.status, "error": error.body()}
            return
        yield {"prompt_tokens": len(ids)}
        generator, count = require(self.engine, Generates), 0

        def counted() -> Iterator[int]:
            nonlocal count
            for token in generator.generate(ids, limit, Sampling(**x["sampling"])):
                count += 1
                yield token
                if self.shared.cancelled[x["slot"]]:
                    return

        stopped = False

        def pieces() -> Iterator[str]:
            nonlocal stopped
            text = streamed_text(counted(), self._decode)
            stopped = yield from until_stop(text, x["stops"])

        for text in pieces():
            if text:
                yield {"text": text}
        reason = "length" if count >= limit and not stopped else "stop"
        yield {"finish_reason": reason, "completion_tokens": count}

    def _prompt(self, x: dict[str, Any]) -> tuple[list[int], int]:
        """Return the prompt's ids and the most tokens of its answer.

        Raises:
            ApiError: the chat template rejects or ignores a part, or the messages do not fit.
        """
        ids = self._prompt_ids(x["messages"], x["tools"])
        limit, requested = x["limit"]
        if self.context is not None:
            left = self.context - len(ids)
            needed = limit if requested else 1
            if needed > left:
                raise ApiError(
                    400,
                    f"This model's context is {self.context} tokens, but the messages have {len(ids)} "
                    f"and the answer needs {needed}; shorten them or set a lower max_tokens",
                    param="messages",
                    code="context_length_exceeded",
                )
            limit = min(limit, left)
        return ids, limit

    def _prompt_ids(self, messages: list[Message], tools: list[dict[str, Any]]) -> list[int]:
        """Return the prompt's ids, if the template writes every turn and the tools, as training requires.

        Raises:
            ApiError: the chat template rejects or ignores a part.
        """
        try:
            ids = prompt_ids(self.tokenizer, messages, tools)
            if tools and ids == prompt_ids(self.tokenizer, messages):
                raise ApiError(400, "This model's chat template ignores tools", param="tools")
            refuse_lost_turns(self.tokenizer, messages, tools or None)
        except (ValueError, DataError) as error:
            raise ApiError(400, str(error), param="messages") from None
        return ids

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class ClassifyWorker(_Worker):
    """Classifies one batch of waiting texts at a time."""

    labels: Sequence[str]
    multi_label: bool

    def warm_up(self) -> None:
        """Classify one text."""
        self.labels = label_names(self.folder)
        problem = read_json(self.folder, "config.json").get("problem_type")
        self.multi_label = problem == "multi_label_classification"
        classes = require(self.engine, Classifies).classify([self._ids("Hi")]).shape[1]
        if classes != len(self.labels):
            raise ServeError(
                f"{self.folder}: the model has {classes} classes, but config.json names {len(self.labels)}; "
                "export the model again"
            )

    def predict(self, x: Sequence[str]) -> list[dict[str, Any]]:
        """Return each text's label and scores, or an error."""
        import numpy as np

        rows = [self._ids(text) for text in x]
        fits = [self.context is None or len(row) <= self.context for row in rows]
        kept = [row for row, fit in zip(rows, fits, strict=True) if fit]
        scores = iter(())
        if kept:
            logits = require(self.engine, Classifies).classify(kept).astype(np.float64)
            top = 0.0 if self.multi_label else logits.max(-1, keepdims=True)
            exponentials = np.exp(np.clip(logits - top, -700, 700))
            # A sigmoid for each class, or a softmax over all of them.
            total = 1 + exponentials if self.multi_label else exponentials.sum(-1, keepdims=True)
            scores = iter((exponentials / total).tolist())
        return [
            self._answer(row, next(scores), len(kept)) if fit else self._too_long(row)
            for row, fit in zip(rows, fits, strict=True)
        ]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, truncation=False)["input_ids"])

    def _answer(self, row: list[int], scores: list[float], batch: int) -> dict[str, Any]:
        by_label = dict(zip(self.labels, scores, strict=True))
        best = max(by_label, key=by_label.__getitem__)
        answer: dict[str, Any] = {"label": best, "score": by_label[best]}
        if self.multi_label:
            answer = {"labels": [label for label, score in by_label.items() if score > 0.5]}
        return {**answer, "scores": by_label, "tokens": len(row), "batch": batch}

    def _too_long(self, row: list[int]) -> dict[str, Any]:
        message = f"a text has {len(row)} tokens, but this model's context is {self.context}; shorten it"
        error = ApiError(400, message, param="input", code="context_length_exceeded")
        return {"status": error.status, "error": error.body()}


class GatheringLoop(LitLoop):  # type: ignore[misc]
    """Waits for a first text, then ``batch_timeout`` seconds for others to fill the batch.

    litserve's own batching loop polls the queue a thousand times a second even without requests.
    """

    def run(
        self,
        lit_api: ClassifyWorker,
        device: str,
        worker_id: int,
        request_queue: Any,
        transport: Any,
        workers_setup_status: Any,
        callback_runner: Any,
    ) -> None:
        """Answer one batch."""
        waiting: list[Any] = []
        until = None
        while len(waiting) < lit_api.max_batch_size:
            left = 1.0 if until is None else max(0.0, until - time.monotonic())
            try:
                waiting.append(request_queue.get(timeout=left))
            except Empty:
                break
            until = until or time.monotonic() + lit_api.batch_timeout
        if not waiting:
            return
        try:
            answers = lit_api.predict([text for *_, text in waiting])
            outcome = LitAPIStatus.OK
        except Exception:
            _log.exception("the model failed on a batch of %d texts", len(waiting))
            answers, outcome = [{}] * len(waiting), LitAPIStatus.ERROR
        for (consumer, uid, _, _), answer in zip(waiting, answers, strict=True):
            self.put_response(transport, consumer, uid, answer, outcome, LoopResponseType.REGULAR)
