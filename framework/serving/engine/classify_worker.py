"""The worker of classifiers: texts of similar lengths share a batch."""

import logging
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from framework.build.engine import Classifies, Engine, open_engine, require
from framework.build.engine.model_folder import label_names, read_json
from framework.core.errors import ServeError
from framework.serving.api_error import ApiError, error_event
from framework.serving.engine.model_worker import FAULT, ModelWorker, Settings, Step

_log = logging.getLogger(__name__)
WINDOWS = 8
"""Batches that the worker holds: the more, the closer the lengths within one batch."""


@dataclass(frozen=True)
class Text:
    """A text as token ids."""

    ids: list[int]
    words: Any = None
    """What a subclass needs to find its answer in the text."""


class TextWorker(ModelWorker):
    """Answers batches of texts; a subclass says what an answer is."""

    engine: Engine

    def __init__(self, settings: Settings) -> None:
        """Open the folder.

        Raises:
            ServeError: the engine cannot open it.
        """
        super().__init__(settings)
        self.engine = open_engine(settings.engine, self.folder, settings.threads)
        self.width = settings.max_batch_size
        self.window = WINDOWS * self.width
        self._waiting: dict[int, tuple[float, Text]] = {}

    @abstractmethod
    def encode(self, text: str) -> Text:
        """Return *text* as token ids."""

    @abstractmethod
    def answer(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """Return the answer to each of a batch of texts."""

    def warm_up(self) -> float:
        """Answer one text, then a full batch; see the base class."""
        text = self.encode("Hi")
        for texts in ([text], [text] * self.width):
            started = time.monotonic()
            self.answer(texts)
        return self.width / max(time.monotonic() - started, 1e-6)

    def read(self, payload: Any) -> Text:
        """Return the text as token ids.

        Raises:
            ApiError: it does not fit into the model's context.
        """
        text = self.encode(payload)
        self.check_context(text)
        return text

    def check_context(self, text: Text) -> None:
        """Refuse a text that the model cannot read whole.

        Raises:
            ApiError: 400.
        """
        if self.context is not None and len(text.ids) > self.context:
            raise ApiError(
                400,
                f"a text has {len(text.ids)} tokens, but this model's context is {self.context}; shorten it",
                param="input",
                code="context_length_exceeded",
            )

    def add(self, number: int, request: Text) -> None:
        """Hold a text; see the base class."""
        self._waiting[number] = time.monotonic(), request

    def cancel(self, number: int) -> None:
        """Forget a text; see the base class."""
        self._waiting.pop(number, None)

    def patience(self) -> float | None:
        """Return how long the oldest text still waits for others; 0 once a batch is full."""
        if not self._waiting:
            return None
        if len(self._waiting) >= self.width:
            return 0
        arrived, _ = next(iter(self._waiting.values()))
        return max(0.0, arrived + self.settings.batch_timeout - time.monotonic())

    def step(self) -> Step:
        """Answer the oldest text, together with those that are closest to it in length."""
        started = time.monotonic()
        numbers = self._batch()
        texts = [self._waiting.pop(number)[1] for number in numbers]
        try:
            answers = self.answer(texts)
        except Exception:
            _log.exception("the model failed on a batch of %d texts", len(texts))
            return Step([(number, error_event(ApiError(500, FAULT))) for number in numbers])
        events: list[tuple[int, Mapping[str, Any]]] = [
            (number, {**answer, "tokens": len(text.ids), "batch": len(texts), "began": started})
            for number, text, answer in zip(numbers, texts, answers, strict=True)
        ]
        full = len(texts) >= self.width
        return Step(events, len(texts), len(texts), time.monotonic() - started, full)

    def _batch(self) -> list[int]:
        """Return the oldest text's neighbors in length; the oldest never waits for a second batch."""
        oldest = next(iter(self._waiting))
        by_length = sorted(self._waiting, key=lambda number: len(self._waiting[number][1].ids))
        place = by_length.index(oldest)
        start = max(0, min(place - self.width // 2, len(by_length) - self.width))
        return by_length[start : start + self.width]


class ClassifyWorker(TextWorker):
    """Gives each text one label, or every label that applies."""

    def __init__(self, settings: Settings) -> None:
        """Open the folder; see the base class.

        Raises:
            ServeError: the model has other classes than config.json names.
        """
        super().__init__(settings)
        self.labels = label_names(self.folder)
        problem = read_json(self.folder, "config.json").get("problem_type")
        self.multi_label = problem == "multi_label_classification"
        classes = require(self.engine, Classifies).classify([self.encode("Hi").ids]).shape[1]
        if classes != len(self.labels):
            raise ServeError(
                f"{self.folder}: the model has {classes} classes, but config.json names {len(self.labels)}; "
                "export the model again"
            )

    def encode(self, text: str) -> Text:
        """Return *text* as token ids."""
        return Text(list(self.tokenizer(text, truncation=False)["input_ids"]))

    def answer(self, texts: Sequence[Text]) -> list[dict[str, Any]]:
        """Return each text's label and scores."""
        import numpy as np

        logits = require(self.engine, Classifies).classify([text.ids for text in texts]).astype(np.float64)
        top = 0.0 if self.multi_label else logits.max(-1, keepdims=True)
        exponentials = np.exp(np.clip(logits - top, -700, 700))
        # A sigmoid for each class, or a softmax over all of them.
        total = 1 + exponentials if self.multi_label else exponentials.sum(-1, keepdims=True)
        return [self._labeled(scores) for scores in (exponentials / total).tolist()]

    def _labeled(self, scores: list[float]) -> dict[str, Any]:
        by_label = dict(zip(self.labels, scores, strict=True))
        if self.multi_label:
            return {"labels": [label for label, score in by_label.items() if score > 0.5], "scores": by_label}
        best = max(by_label, key=by_label.__getitem__)
        return {"label": best, "score": by_label[best], "scores": by_label}
