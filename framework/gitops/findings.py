"""What a check of a folder proved, refuted, or left unproved."""

import textwrap
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["proved", "refuted", "unproved"]

_WIDTH = 80
_START = "  {:<10}{:<11}"


@dataclass(frozen=True)
class Finding:
    """One claim, and what became of it."""

    verdict: Verdict
    claim: str
    """One word, such as ``seal``."""
    text: str
    """What was compared with what, or what would prove it."""
    by_signer: bool = False
    """Whether it was proved by a signature that the caller accepts."""

    def row(self) -> str:
        """Return lines of at most 80 columns, unless a word is longer."""
        start = _START.format(self.verdict, self.claim)
        return textwrap.fill(
            self.text,
            _WIDTH,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
