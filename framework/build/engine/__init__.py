"""One protocol over every runtime, so that a number always means the same thing.

Evaluation, parity, benchmark and server all go through it. It knows token ids and arrays only:
text, templates and metrics belong to its callers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from its distribution."""

    temperature: float = 0.0
    """What logits are divided by; 0 takes the likeliest token (greedy)."""
    top_p: float = 1.0
    """Only the likeliest tokens that together reach this share are drawn from."""
    seed: int | None = None
    """Makes a drawing repeatable; None draws anew each time."""
    past_end: bool = False
    """Go on after an end-of-sequence token, as a benchmark must to time a given number of tokens."""


GREEDY = Sampling()


class Engine(Protocol):
    """A model folder, opened by one runtime."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, vocabulary), or (T, tags)."""

    def answer_logits(
        self, rows: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> "list[np.ndarray]":
        """Return, for each answer of A token ids to its row, float32 logits of shape (A, vocabulary).

        Only for models that read with an encoder and write with a decoder.
        """

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids that follow *prompt*, one by one, greedily unless told to sample.

        Ends before the first end-of-sequence token, after *max_new_tokens*, or when the context is full.
        """

    def classify(self, rows: "Sequence[Sequence[int]]") -> "np.ndarray":
        """Return float32 logits of shape (rows, classes) for a sequence classifier."""

    def classify_images(self, rows: Sequence[Sequence[int]], images: "np.ndarray") -> "np.ndarray":
        """Return float32 logits of shape (rows, classes) for texts with an image each.

        Images are float32 (rows, 3, height, width) between -1 and 1.
        """


@runtime_checkable
class GeneratesTogether(Protocol):
    """An engine that can also answer several prompts at once; only the benchmark asks, so none has to."""

    def generate_together(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Yield the next token of each of the equally long *prompts*, greedily and past any end."""


def open_engine(name: str, folder: Path, threads: int = 0) -> Engine:
    """Open *folder* with the runtime *name*.

    Args:
        name: the module below ``framework.build.engine``: ``torch``, ``onnxruntime``, ``genai``,
            ``openvino`` or ``tensorrt``.
        folder: an artifact that the runtime can read.
        threads: CPU threads; 0 leaves the runtime's own choice.
    """
    opened: Engine = import_module(f"framework.build.engine.{name}").open_folder(folder, threads)
    return opened
