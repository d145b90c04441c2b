"""The worker of language models: conversations become prompts, and tokens become text."""

import time
from pathlib import Path
from typing import Any

from framework.build.engine import AdaptedBatches, Batches, Progress, Sampling
from framework.build.engine.batches import open_adapted, open_batches
from framework.build.engine.sampling import refused_fields
from framework.core.error_text import first_line
from framework.core.errors import ServeError
from framework.serving.api_error import ApiError, error_event
from framework.serving.engine.answer import Answer
from framework.serving.engine.model_worker import ModelWorker, Settings, Step
from framework.serving.engine.prompts import Prompt, PromptReader
from framework.serving.engine.tokenization import open_tokenizer, prompt_ids

WARM_UP_TOKENS = 8
"""Tokens of each answer that the rate is first measured with."""


class ChatWorker(ModelWorker):
    """Generates several answers together, as far as the release's engine can."""

    def __init__(self, settings: Settings) -> None:
        """Open the folder.

        Raises:
            ServeError: it has no chat template, or the engine cannot open it.
        """
        super().__init__(settings)
        if not self.tokenizer.chat_template:
            raise ServeError(f"{self.folder}: the tokenizer has no chat template; add chat_template.jinja")
        # The reader thread encodes with the one above while this one decodes: they are not shared.
        self._decoder = open_tokenizer(self.folder)
        self.batches = self._open()
        self.width = self.batches.width
        # What waits here has left the server's fair order; a batch that nobody can join must begin full.
        self.window = self.width + (max(1, self.width // 4) if self.batches.joins else self.width)
        self._reader = PromptReader(self.tokenizer, self.context, settings.engine, self.batches.refuses)
        self.refused = refused_fields(self.batches.refuses)
        self._waiting: dict[int, Prompt] = {}
        self._running: dict[int, Answer] = {}
        self._first_came = 0.0

    def _open(self) -> Batches:
        """Open the folder with the release's engine, and the adapters if there are any.

        Raises:
            ServeError: the engine cannot open it.
        """
        settings = self.settings
        if not settings.adapters:
            return open_batches(settings.engine, self.folder, settings.threads, settings.max_batch_size)
        adapters = {digest: Path(folder) for digest, folder in settings.adapters.items()}
        width = settings.max_batch_size
        return open_adapted(settings.engine, self.folder, settings.threads, adapters, width)

    def warm_up(self) -> float:
        """Generate one short answer, then a full batch of them; see the base class."""
        ids = prompt_ids(self.tokenizer, [{"role": "user", "content": "Hi"}])
        limit = WARM_UP_TOKENS if self.context is None else min(WARM_UP_TOKENS, self.context - len(ids))
        if limit < 1:
            raise ServeError(f"{self.folder}: its context of {self.context} tokens has no room for an answer")
        for answers in (1, self.width):
            started, work = time.monotonic(), 0.0
            for number in range(answers):
                self.add(-1 - number, Prompt(ids, limit, Sampling()))
            while self._waiting or self._running:
                work += self.step().work
        return max(work, 1.0) / (time.monotonic() - started)

    def read(self, payload: Any) -> Prompt:
        """Return the conversation or the text as a prompt; see ``PromptReader``.

        Raises:
            ApiError: it cannot be answered.
        """
        self._reader.context = self.context
        return self._reader.read(payload)

    def add(self, number: int, request: Prompt) -> None:
        """Hold a prompt; see the base class."""
        if not self._waiting:
            self._first_came = time.monotonic()
        self._waiting[number] = request

    def cancel(self, number: int) -> None:
        """Forget a prompt or stop its answer; see the base class."""
        self._waiting.pop(number, None)
        if self._running.pop(number, None):
            self.batches.cancel(number)

    def patience(self) -> float | None:
        """Return 0 while answers are generated; a batch that cannot be joined waits to be filled."""
        if self._running:
            return 0
        if not self._waiting:
            return None
        if self.batches.joins or len(self._waiting) >= self.width:
            return 0
        return max(0.0, self._first_came + self.settings.batch_timeout - time.monotonic())

    def step(self) -> Step:
        """Generate the next token of each running answer."""
        started, step = time.monotonic(), Step()
        while self._waiting and len(self._running) < self.width:
            number = next(iter(self._waiting))
            self._begin(number, self._waiting.pop(number), step)
        step.rows = len(self._running)
        step.full = step.rows >= self.width
        for progress in self.batches.step():
            step.work += max(len(progress.tokens), 1)
            self._advance(progress, step)
        step.seconds = time.monotonic() - started
        return step

    def _begin(self, number: int, prompt: Prompt, step: Step) -> None:
        try:
            if isinstance(self.batches, AdaptedBatches):
                self.batches.use(prompt.adapter)
            self.batches.submit(number, prompt.ids, prompt.limit, prompt.sampling)
        except ServeError as error:
            refused = ApiError(500, str(error))
            if prompt.sampling.grammar:  # the runtime reads the schema here
                refused = _unusable(first_line(error.__cause__ or error))  # without this server's paths
            step.events.append((number, error_event(refused)))
            return
        self._running[number] = Answer(prompt, self._decoder)

    def _advance(self, progress: Progress, step: Step) -> None:
        """Add what one answer got to the events of *step*."""
        number, answer = progress.request, self._running[progress.request]
        if progress.failure is not None:
            del self._running[number]
            step.events.append((number, error_event(_unusable(progress.failure))))
            return
        if not answer.begun:
            answer.begun = True
            echo = {} if answer.prompt.echo is None else {"echo": answer.prompt.echo}
            known = {"prompt_tokens": len(answer.prompt.ids), "began": answer.since, **echo}
            step.events.append((number, known))
        if event := answer.add(progress.tokens, progress.scores, progress.ended):
            step.events.append((number, event))
        if not (progress.ended or answer.stopped):
            return
        del self._running[number]
        if not progress.ended:
            self.batches.cancel(number)
        limited = answer.count >= answer.prompt.limit and not answer.stopped
        step.events.append((number, answer.last(limited)))


def _unusable(reason: str) -> ApiError:
    return ApiError(400, f"The schema cannot be used: {reason}", param="response_format")
