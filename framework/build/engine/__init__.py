"""Open a model folder with one of several runtimes, and ask what the opened model can do.

Evaluation, parity, benchmark and server all use engines, so a metric means the same on every runtime.
Each capability is a protocol, most with one method. An engine has the methods that its model supports and no
others; callers ask with ``require``. ``Batches``, which the server generates with, is opened by
``framework.build.engine.batches``.

This module knows token ids and arrays. Text, templates and metrics belong to its callers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, runtime_checkable

from framework.build.engine.sampling import GREEDY, Sampling, Scored
from framework.core.errors import ServeError
from framework.core.plugin_module import import_named

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "GREEDY",
    "Batches",
    "Classifies",
    "ClassifiesImages",
    "Embeds",
    "Engine",
    "Generates",
    "GeneratesScored",
    "GeneratesTogether",
    "GivesAnswerLogits",
    "GivesLogits",
    "Progress",
    "Sampling",
    "Scored",
    "engine_module",
    "open_engine",
    "require",
]


class Engine(Protocol):
    """A model folder, opened by one runtime; ``require`` tells what it can do."""

    runtime: ClassVar[str]
    """The runtime's name, for messages."""


@runtime_checkable
class GivesLogits(Protocol):
    """Scores each token of a row: language models and token classifiers."""

    def logits(self, rows: Sequence[Sequence[int]]) -> "list[np.ndarray]":
        """Return, for each row of T token ids, float32 logits of shape (T, vocabulary), or (T, tags)."""


@runtime_checkable
class GivesAnswerLogits(Protocol):
    """Scores an answer's tokens, given the row that an encoder reads: encoder-decoder models."""

    def answer_logits(
        self, rows: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
    ) -> "list[np.ndarray]":
        """Return, for each row's answer of A token ids, float32 logits of shape (A, vocabulary)."""


@runtime_checkable
class Generates(Protocol):
    """Generates text: language models and encoder-decoder models."""

    ends: frozenset[int]
    """The tokens that end an answer; see ``model_folder.end_of_sequence``."""

    def generate(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[int]:
        """Yield the token ids that follow *prompt*, one by one.

        Stops before the first end-of-sequence token, after *max_new_tokens*, or when the context is full.

        Raises:
            ServeError: the prompt is longer than the context.
        """


@runtime_checkable
class GeneratesScored(Protocol):
    """Generates text, and respects every field of ``Sampling``; ``grammar`` where it is ``Guided``."""

    def generate_scored(
        self, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> Iterator[Scored]:
        """Return the tokens that ``Generates.generate`` yields, with the log probabilities asked for.

        Raises:
            ServeError: the prompt is longer than the context, or the grammar cannot be used.
        """


@runtime_checkable
class GeneratesTogether(Protocol):
    """Generates from several prompts at once; only the benchmark uses it, and only where it exists."""

    def generate_together(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
        """Yield the next token of every prompt, greedily, ignoring end tokens; prompts have one length."""


@dataclass(frozen=True)
class Progress:
    """What one step generated for one request."""

    request: int
    """The caller's number of the request."""
    tokens: list[int]
    """The new token ids; never an end-of-sequence token."""
    ended: bool
    """Whether these are the last."""
    scores: list[Scored] = field(default_factory=list)
    """The same tokens with log probabilities, if the request's sampling asks for them; else empty."""
    failure: str | None = None
    """Why this answer alone cannot go on; it has ended."""


@runtime_checkable
class Batches(Protocol):
    """Generates for several requests at once. One thread calls it."""

    width: int
    """Most requests at once; the caller keeps the others."""
    joins: bool
    """Whether a request can join running ones; otherwise it waits until those have ended."""

    def refuses(self, sampling: Sampling) -> str | None:
        """Return the first field of *sampling* that this engine cannot respect; None if it can."""

    def submit(
        self, request: int, prompt: Sequence[int], max_new_tokens: int, sampling: Sampling = GREEDY
    ) -> None:
        """Add a request that is not refused; the next steps generate for it.

        Args:
            request: the caller's number of it, unique among the running ones.
            prompt: its token ids; prompt and answer fit into the model's context.
            max_new_tokens: most tokens of its answer, at least 1.
            sampling: how its tokens are drawn. A seed gives the same answer again.

        Raises:
            ServeError: the runtime refuses the request; the others go on.
        """

    def step(self) -> list[Progress]:
        """Generate the next token of the running requests; return those that got one or ended.

        Raises:
            ServeError: the runtime failed, and with it every running request.
        """

    def cancel(self, request: int) -> None:
        """Remove a running request; ``step`` does not return it again."""


@runtime_checkable
class AdaptedBatches(Batches, Protocol):
    """Generates with one of several adapters."""

    def use(self, adapter: str | None) -> None:
        """Generate requests that are submitted next with *adapter*, None with the bare model.

        Where the engine has a width of 1, no request may be running.
        """


@runtime_checkable
class Classifies(Protocol):
    """Scores the classes of a whole row: sequence classifiers."""

    def classify(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 logits of shape (rows, classes)."""


@runtime_checkable
class ClassifiesImages(Protocol):
    """Scores the classes of a text together with an image."""

    def classify_images(self, rows: Sequence[Sequence[int]], images: "np.ndarray") -> "np.ndarray":
        """Return float32 logits of shape (rows, classes).

        Args:
            rows: token ids of each text.
            images: float32 (rows, 3, height, width), from -1 to 1.
        """


@runtime_checkable
class Embeds(Protocol):
    """Turns a whole row into a vector: text-embedding models.

    A folder is one if config.json names an architecture without a head, such as ``BertModel``. An exported
    graph has the output ``embeddings``. Its task says ``embeds``.
    """

    dimensions: int
    """The length of a vector."""

    def embed(self, rows: Sequence[Sequence[int]]) -> "np.ndarray":
        """Return float32 (rows, dimensions): the mean over each row's tokens, of length 1.

        So the product of two vectors is the cosine of their angle. Padding does not change a vector. An
        exported graph runs the rows as one batch.
        """


_CAPABILITIES: dict[type, tuple[str, str]] = {
    GivesLogits: ("score the tokens of a row", "open a language model or a token classifier"),
    GivesAnswerLogits: (
        "score answers with an encoder and a decoder",
        "open such a model with the torch engine (export=transformers)",
    ),
    Generates: ("generate text", "open a language model"),
    GeneratesTogether: ("generate from several prompts at once", "open a language model"),
    Classifies: ("classify texts", "open a classifier with the torch, onnxruntime or openvino engine"),
    Embeds: (
        "embed texts",
        "open a text-embedding model with the torch, onnxruntime or openvino engine",
    ),
    ClassifiesImages: (
        "classify images",
        "open such a model with the torch engine (export=transformers)",
    ),
}
"""Each capability in words, and what to open to get it."""

Capability = TypeVar("Capability")


def require(engine: Engine, capability: type[Capability]) -> Capability:
    """Return *engine* as the *capability* that a caller needs.

    Args:
        engine: an opened model folder.
        capability: one of this module's protocols, such as ``Generates``.

    Raises:
        ServeError: the engine lacks it.
    """
    if isinstance(engine, capability):
        return engine
    action, remedy = _CAPABILITIES[capability]
    runtime = getattr(engine, "runtime", type(engine).__name__)
    methods = ", ".join(name for name in vars(capability) if not name.startswith("_"))
    raise ServeError(
        f"the {runtime} engine cannot {action} with this model (it has no method '{methods}'); {remedy}"
    )


def open_engine(name: str, folder: Path, threads: int = 0) -> Engine:
    """Open *folder* with the runtime *name*.

    Args:
        name: a module of ``framework.build.engine``, such as ``onnxruntime``, or the dotted path of a
            plugin's module, such as ``ourpackage.our_engine``; it defines ``open_folder(folder, threads)``.
        folder: an artifact that the runtime can read.
        threads: CPU threads; 0 leaves the choice to the runtime.

    Raises:
        ServeError: there is no such engine, or it cannot open the folder.
    """
    engine: Engine = engine_module(name).open_folder(folder, threads)
    return engine


def engine_module(name: str) -> ModuleType:
    """Return the module of the engine *name*; see ``open_engine``.

    Raises:
        ServeError: there is no such engine.
    """
    try:
        return import_named(name, "framework.build.engine")
    except ImportError as error:
        raise ServeError(f"engine '{name}': {error}; install the package that it belongs to") from error
