"""What a verb of the command line is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """One ``key=value`` of a verb."""

    key: str
    meaning: str
    default: str | None = None
    """None if the word is required; empty if it is left out by default."""


@dataclass(frozen=True)
class Verb:
    """The first word of a command."""

    name: str
    summary: str
    """One line for the list of verbs, without a period."""
    details: str
    """What it reads, writes and returns, for the verb's own help."""
    examples: tuple[str, ...]
    words: tuple[Word, ...] = ()
    composes: bool = True
    """Whether it takes a recipe and overrides."""
