"""A language model with a key-value cache, on any runtime; a subclass runs one forward pass."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from framework.build.engine import GREEDY, Sampling, Scored
from framework.build.engine.decoding import Step, decode, decode_together
from framework.build.engine.guidance import Guided
from framework.build.engine.model_folder import room
from framework.build.engine.padded_batches import batches, padded

if TYPE_CHECKING:
    import numpy as np


class TextDecoder(Guided, ABC):
    """An open language model; a subclass has ``_scores`` and ``_begin``."""

    pad: int
    """The token that fills short rows."""
    context: int | None
    """Most tokens of prompt and answer; None if the model has no limit."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, vocabulary)."""
        by_row: dict[int, np.ndarray] = {}
        for indices in batches(rows):
            scores = self._scores(*padded([rows[index] for index in indices], self.pad))
            for position, index in enumerate(indices):
                by_row[index] = scores[position, : len(rows[index])]
        return [by_row[index] for index in range(len(rows))]

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids that follow *prompt*; see ``generate_scored``."""
        return (each.token for each in self.generate_scored(prompt, max_new_tokens, sampling))

    def generate_scored(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[Scored]:
        """Return the tokens that follow *prompt*, one forward pass a token.

        They stop before the first end-of-sequence token, after *max_new_tokens*, or when the context is full.

        Raises:
            ServeError: the prompt is longer than the context, or the grammar cannot be used.
        """
        limit, guide = room(len(prompt), max_new_tokens, self.context), self._guide(sampling.grammar)
        return decode(self._begin(1), prompt, limit, self.ends, sampling, guide)

    def generate_together(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Yield the next token of every prompt, greedily, ignoring end tokens; prompts have one length."""
        yield from decode_together(self._begin(len(prompts)), prompts, new_tokens)

    @abstractmethod
    def _scores(self, ids: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
        """Return float32 logits (rows, longest, vocabulary) of right-padded rows."""

    @abstractmethod
    def _begin(self, rows: int) -> Step:
        """Return the step function for *rows* prompts, with an empty cache of its own."""
