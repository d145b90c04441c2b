"""What the engine's process does with requests: the base class of its workers.

``framework.serving.engine.process`` owns one worker. A reader thread calls ``read``; every other method is
called by the one thread that runs the model.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.build.engine.model_folder import context_length
from framework.serving.engine.tokenization import open_tokenizer

FAULT = "The model failed on this request; see the server's log"
_LONG = 2**15
"""Tokens of a long prompt, for a model that names no context."""


@dataclass(frozen=True)
class Settings:
    """What the engine's process is started with."""

    folder: str
    """The model's folder."""
    engine: str
    """The release's engine."""
    task: str
    """The release's task."""
    threads: int
    max_batch_size: int
    batch_timeout: float
    """Seconds, as the three above: see ``framework.serving.Serving``."""
    adapters: dict[str, str] = field(default_factory=dict)
    """The folder of each adapter, by its digest."""


@dataclass(frozen=True)
class Abilities:
    """What an engine can do, as it says when it is ready."""

    vocabulary: int
    """Its tokens are smaller numbers."""
    starts: bool
    """Whether an empty text has a token, which begins every text."""
    chats: bool
    """Whether it has a chat template."""
    refused: Sequence[str]
    """Fields of ``Sampling`` that it cannot respect."""
    dimensions: int | None = None
    """The length of its vectors; None if it has none."""


@dataclass
class Step:
    """What one step did, as the server reads it."""

    events: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    """Events of requests, by the request's number."""
    rows: int = 0
    """Requests that shared the step."""
    work: float = 0.0
    """Tokens generated, or texts read."""
    seconds: float = 0.0
    """How long it took."""
    full: bool = False
    """Whether the batch was full, so that this step shows the engine's highest rate."""


class ModelWorker(ABC):
    """Answers the requests that it holds, some of them together."""

    width: int
    """Most requests that it answers together."""
    window: int
    """Most requests that it should hold; the server keeps the others."""
    refused: Sequence[str] = ()
    """Fields of ``Sampling`` that the engine cannot respect."""

    def __init__(self, settings: Settings) -> None:
        """Open the tokenizer; a subclass opens the model.

        Raises:
            ServeError: the folder has no tokenizer.
        """
        os.environ["HF_HUB_OFFLINE"] = "1"
        self.settings = settings
        self.folder = Path(settings.folder)
        self.tokenizer = open_tokenizer(self.folder)
        self.context = context_length(self.folder)

    def longest_call(self, rate: float) -> float:
        """Return how many seconds one call may take: a full batch of prompts as long as the context.

        Args:
            rate: what ``warm_up`` returned. A token of a prompt takes no longer than one of an answer.
        """
        return self.width * (self.context or _LONG) / rate

    def abilities(self) -> Abilities:
        """Return what clients can ask of this engine."""
        tokenizer = self.tokenizer
        starts = bool(tokenizer("")["input_ids"])
        return Abilities(len(tokenizer), starts, bool(tokenizer.chat_template), self.refused)

    @abstractmethod
    def warm_up(self) -> float:
        """Answer full batches; return the work of one second: tokens, or texts.

        Raises:
            ServeError: the model cannot answer.
        """

    @abstractmethod
    def read(self, payload: Any) -> Any:
        """Return the request as token ids; it must not touch the model.

        Raises:
            ApiError: the request cannot be answered.
        """

    @abstractmethod
    def add(self, number: int, request: Any) -> None:
        """Hold a request that ``read`` returned."""

    @abstractmethod
    def cancel(self, number: int) -> None:
        """Forget a request; it may have ended already."""

    @abstractmethod
    def patience(self) -> float | None:
        """Return for how many seconds the next step should wait for more requests; None without requests."""

    @abstractmethod
    def step(self) -> Step:
        """Do the next piece of work."""
