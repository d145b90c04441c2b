"""Where answers come from: the seam between the routes and whatever answers.

``EngineAnswers`` asks the model. Others wrap one ``Answers`` in another, as a cache does;
``framework.serving.app`` puts them together. Routes know the protocol alone.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from framework.serving.caller import Caller

Event = dict[str, Any]
"""What is known of one answer, in this order: ``{"prompt_tokens"}`` once, ``{"text", "tokens"}`` several
times, then ``{"finish_reason", "completion_tokens"}``.

The first has ``echo``, the prompt's text, if the payload asks for it. Where the prompt's tokens are known
at the end only, it says 0, and the last event has ``prompt_tokens``, too. The second may have ``calls``, each
with ``name`` and ``arguments`` as JSON, and ``logprobs``, as OpenAI's objects."""


def said(content: Event) -> str:
    """Return what an event with ``text`` adds to the answer: text and calls, for judges and logs."""
    calls = (f"{call['name']}({call['arguments']})" for call in content.get("calls", ()))
    return "".join((content["text"], *calls))


@dataclass(frozen=True)
class Generation:
    """A text that a client wants to have generated."""

    payload: dict[str, Any]
    """What the engine's process reads, as JSON: equal payloads ask for the same answer."""
    limit: int
    """Most tokens of the answer."""
    limit_is_own: bool
    """Whether the client set the limit."""
    caller: Caller
    arrived: float
    """When the request arrived, by the monotonic clock."""
    id: str = ""
    """The answer's id, which feedback can name."""
    route: str = ""
    """The path that was asked."""


@dataclass(frozen=True)
class Texts:
    """Texts that each get one answer, which depends on the text alone."""

    texts: Sequence[str | Sequence[int]]
    """Texts, or their token ids."""
    caller: Caller
    arrived: float
    """When the request arrived, by the monotonic clock."""
    id: str = ""
    """The answer's id, which feedback can name."""
    route: str = ""
    """The path that was asked."""

    def payload(self, text: str | Sequence[int]) -> Any:
        """Return what the engine's process reads for one text; equal JSON asks for the same answer."""
        return text


@dataclass(frozen=True)
class Classification(Texts):
    """Texts that a client wants to have classified: each gets its label, labels or entities."""


@dataclass(frozen=True)
class Embedding(Texts):
    """Texts that a client wants to have embedded: each gets ``embedding``, a vector of ``write_vector``."""

    most_tokens: int | None = None
    """Tokens of a text that are read; None refuses a text that does not fit into the model's context."""

    def payload(self, text: str | Sequence[int]) -> Any:
        """Return the text, or its tokens, with the number of them that are read; see the base class."""
        return {"embed": text, "most": self.most_tokens}


class Answers(Protocol):
    """Answers requests of all routes. One event loop calls it."""

    def generate(self, asked: Generation) -> AsyncGenerator[Event, None]:
        """Yield what is known of the answer, as soon as it is; closing the generator cancels it.

        Raises:
            ApiError: it is refused, before the first event, or failed, at any time.
        """

    async def answer_each(self, asked: Texts) -> list[dict[str, Any]]:
        """Return the answer to each text; canceling the call cancels them.

        Each has ``tokens`` and ``batch``, the number of texts that it shared a batch with, beside what the
        client gets.

        Raises:
            ApiError: it is refused, or failed.
        """
