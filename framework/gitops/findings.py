"""What a check of a folder proved, refuted, or left unproved."""

from dataclasses import dataclass
from typing import Literal

from framework.gitops.text_layout import paragraph

Verdict = Literal["proved", "refuted", "unproved"]


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
        return paragraph(f"{self.verdict:<10}{self.claim:<11}", self.text)
