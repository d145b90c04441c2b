"""``clean=normalize``: one form for texts that look the same."""

import re
import unicodedata
from typing import ClassVar, Literal

from framework.build.clean import Batch, Reason, RowClean
from framework.build.clean.row_texts import Part, rewritten
from framework.build.data.shards import SourcedRow
from framework.core.problem import Problem

# Joiners (U+200C, U+200D) shape emoji and Persian and Indic words, so they stay.
_INVISIBLE = dict.fromkeys(
    [
        *(
            code
            for code in range(0xA0)
            if unicodedata.category(chr(code)) == "Cc" and chr(code) not in "\t\n"
        ),
        *(0xAD, 0x200B, 0x2060, 0xFEFF),
    ]
)
_BLANK_LINES = re.compile(r"\n{3,}")
_SPACES = re.compile(r"(?<=\S)[^\S\n]{2,}")


class Normalize(RowClean):
    """Rewrite texts of training and test rows: Unicode, white space, case, boilerplate lines.

    Control characters, soft hyphens and zero-width spaces are removed, CRLF and CR become LF. A text that
    would become blank stays as it is. Tool calls are not rewritten.
    """

    seconds_per_row: ClassVar[float] = 3e-5

    on: Part = "all"
    """The texts that are rewritten."""
    unicode: Literal["NFC", "NFKC", "keep"] = "NFC"
    """``NFC`` joins letters and accents. ``NFKC`` also replaces ligatures, full-width letters and
    superscripts, which loses what they say (``x²`` becomes ``x2``)."""
    white_space: Literal["keep", "lines", "all"] = "lines"
    """``lines``: no spaces at the ends of lines, at most one blank line in a row, none at the text's ends.
    ``all``: also one space between words; indents stay, tables lose their columns."""
    case: Literal["keep", "lower"] = "keep"
    """``lower`` is for classifiers; a generating model would forget capital letters."""
    boilerplate: tuple[str, ...] = ()
    """Lines that contain one of these texts are removed, in any case, such as ``[accept cookies]``. Plain
    text, not a regular expression."""

    def problems(self) -> list[Problem]:
        """Return a boilerplate text that every line contains."""
        if any(not text.strip() for text in self.boilerplate):
            return [Problem("boilerplate", "an empty text is in every line", advice="remove it")]
        return []

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Return the batch with its texts rewritten."""
        rows, reasons = [], []
        for source in batch:
            row = rewritten(source, self.on, self.normalized)
            rows.append(row)
            if row is not source:
                reasons.append(Reason(source, "normalize", "its text has another form", row))
        return rows, reasons

    def for_test_rows(self) -> "Normalize":
        """Return itself: a model is tested on the form that it learned."""
        return self

    def normalized(self, text: str) -> str:
        """Return *text* in the chosen form; the time is linear in its length."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_INVISIBLE)
        if self.unicode != "keep":
            text = unicodedata.normalize(self.unicode, text)
        if self.boilerplate:
            unwanted = [phrase.casefold() for phrase in self.boilerplate]
            lines = text.split("\n")
            text = "\n".join(line for line in lines if not any(each in line.casefold() for each in unwanted))
        if self.white_space != "keep":
            text = "\n".join(map(str.rstrip, text.split("\n"))).strip("\n")
            text = _BLANK_LINES.sub("\n\n", text)
        if self.white_space == "all":
            text = _SPACES.sub(" ", text)
        return text.lower() if self.case == "lower" else text
