"""What runtimes for text alone answer to all that they cannot do."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from framework.core.errors import ServeError
from framework.engine import GREEDY, Sampling

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
