"""How the tokens of an answer are chosen, as data."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

Part = tuple[str, str]
"""``("text", literal)``, or ``("schema", JSON text)`` for any JSON value that satisfies the schema."""
BASIC = frozenset({"temperature", "top_p", "seed", "past_end"})
"""The fields that every engine which generates text must respect."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from its distribution; the defaults are greedy decoding.

    Penalties and biases change the logits, also under greedy decoding. Then the temperature, ``top_k``,
    ``min_p`` and ``top_p`` apply, in this order.
    """

    temperature: float = 0.0
    """Divides the logits; 0 is greedy decoding."""
    top_p: float = 1.0
    """Nucleus sampling: draw from the smallest set of tokens whose probabilities sum to this."""
    seed: int | None = None
    """Seed of the draw; None draws differently each time."""
    past_end: bool = False
    """Ignore end-of-sequence tokens. A benchmark needs this to time a fixed number of tokens."""
    top_k: int = 0
    """Draw from this many tokens of highest probability; 0 is all."""
    min_p: float = 0.0
    """Draw from tokens whose probability is at least this share of the highest."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of each token that the answer has."""
    frequency_penalty: float = 0.0
    """Subtracted from a token's logit, times how often the answer has it."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens in prompt and answer are divided by it, negative ones multiplied."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Pairs of a token and what is added to its logit."""
    top_logprobs: int | None = None
    """How many of each position's likeliest tokens are returned with their log probabilities, beside the
    chosen one's; None returns none. They are the model's, before everything above."""
    grammar: tuple[Part, ...] = ()
    """What the answer must be: these parts, one after another; empty is any text."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Sampling":
        """Return the sampling that ``dataclasses.asdict`` made *values* of, also after JSON."""
        pairs = {name: tuple(map(tuple, values.get(name, ()))) for name in ("logit_bias", "grammar")}
        return cls(**{**values, **pairs})

    def first_beyond(self, fields_done: Collection[str]) -> str | None:
        """Return the first field that is not at its default and not one of *fields_done*.

        >>> Sampling(temperature=1.0, min_p=0.1).first_beyond(BASIC)
        'min_p'
        """
        changed = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return next((name for name in changed if name not in fields_done), None)


GREEDY = Sampling()
_ASKED: dict[str, Any] = {
    **dict.fromkeys(("min_p", "presence_penalty", "frequency_penalty"), 0.5),
    "top_k": 1,
    "repetition_penalty": 1.5,
    "logit_bias": ((0, 1.0),),
    "top_logprobs": 0,
    "grammar": (("schema", "{}"),),
}
"""A value that is not its default, for each field that an engine may refuse."""
ALL = frozenset(field.name for field in fields(Sampling))
"""Every field."""


def refused_fields(refuses: Callable[[Sampling], str | None]) -> list[str]:
    """Return the fields that an engine cannot respect at all; *refuses* is its ``Batches.refuses``.

    >>> refused_fields(lambda sampling: sampling.first_beyond(ALL - {"min_p"}))
    ['min_p']
    """
    return [name for name, value in _ASKED.items() if refuses(Sampling(**{name: value})) is not None]


@dataclass(frozen=True)
class Scored:
    """One chosen token, with log probabilities if the sampling asks for them."""

    token: int
    logprob: float | None = None
    """Natural logarithm of its probability."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens with theirs, in descending order."""
