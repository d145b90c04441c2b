"""What runtimes for text alone share: what they refuse, and how a graph for either kind of model is asked.

A runtime's own file says how one forward pass is made.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from framework.build.engine import GREEDY, Sampling
from framework.build.engine.decoding import Step, decode, decode_together
from framework.build.engine.model_folder import room
from framework.build.engine.padded_batches import batches, padded
from framework.core.errors import ServeError

if TYPE_CHECKING:
    import numpy as np


class TextEngine:
    """Refuses every request of the protocol; a subclass answers those that its models can."""

    runtime: ClassVar[str]
    """The engine's name, for messages."""
    wrong_kind: ClassVar[str]
    """What is said to a request for the other kind of model, with what opens that."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Refuse: the model classifies whole rows.

        Raises:
            ServeError: always.
        """
        raise ServeError(self.wrong_kind)

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Refuse: a classifier generates nothing.

        Raises:
            ServeError: always.
        """
        raise ServeError(self.wrong_kind)

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Refuse: a decoder has no classes.

        Raises:
            ServeError: always.
        """
        raise ServeError(self.wrong_kind)

    def classify_images(self, rows: Sequence[Sequence[int]], images: "np.ndarray") -> "np.ndarray":
        """Refuse: images are read by torch alone.

        Raises:
            ServeError: always.
        """
        raise ServeError(f"the {self.runtime} engine reads no images; open the model with torch")

    def answer_logits(
        self, rows: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> "list[np.ndarray]":
        """Refuse: these runtimes have no encoder and decoder.

        Raises:
            ServeError: always.
        """
        raise ServeError(
            f"the {self.runtime} engine runs no encoder with a decoder; open the model with torch"
        )


class TextClassifier(TextEngine):
    """A classifier of texts, or of words; a subclass has ``classify``."""

    wrong_kind: ClassVar[str] = "this graph is a classifier's; open a language model instead"

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, tags), as one batch.

        Raises:
            ServeError: the graph classifies whole rows.
        """
        scores = self.classify(rows)
        if scores.ndim != 3:
            raise ServeError(self.wrong_kind)
        return [part[: len(row)] for part, row in zip(scores, rows, strict=True)]


class TextDecoder(TextEngine, ABC):
    """A language model with a key-value cache; a subclass has ``_scores`` and ``_begin``."""

    wrong_kind: ClassVar[str] = "this graph is a language model's; open a classifier instead"

    pad: int
    """The token that fills short rows."""
    ends: frozenset[int]
    """Tokens that end an answer."""
    context: int | None
    """Most tokens of prompt and answer; None if the model names no bound."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, vocabulary)."""
        found: dict[int, np.ndarray] = {}
        for indices in batches(rows):
            scores = self._scores(*padded([rows[index] for index in indices], self.pad))
            for position, index in enumerate(indices):
                found[index] = scores[position, : len(rows[index])]
        return [found[index] for index in range(len(rows))]

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids that follow *prompt*, one forward a token.

        Ends before the first end-of-sequence token, after *max_new_tokens*, or when the context is full.

        Raises:
            ServeError: the prompt is longer than the context.
        """
        limit = room(len(prompt), max_new_tokens, self.context)
        yield from decode(self._begin(1), prompt, limit, self.ends, sampling)

    def generate_together(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Yield the next token of each of the equally long *prompts*, greedily and past any end."""
        yield from decode_together(self._begin(len(prompts)), prompts, new_tokens)

    @abstractmethod
    def _scores(self, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return float32 logits (rows, longest, vocabulary) of right-padded rows."""

    @abstractmethod
    def _begin(self, rows: int) -> Step:
        """Return what goes on from *rows* prompts, with a cache of its own."""
