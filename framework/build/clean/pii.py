"""``clean=pii``: personal data and credentials are masked, or their rows removed."""

import re
from collections import Counter
from hashlib import blake2b
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from framework.build.clean import Batch, Reason, RowClean
from framework.build.clean.personal_data import Found, Kind, find, replaced
from framework.build.clean.row_texts import Part, rewritten
from framework.build.data.shards import SourcedRow
from framework.core.problem import Problem

_SALT = 16
_FORM = re.compile(r"[\s.()+-]+")
KINDS: tuple[Kind, ...] = get_args(Kind)


class Pii(RowClean):
    """Mask personal data and credentials in training and test rows, or remove the training rows.

    It looks into tool calls, too. What is removed or masked is not in this step's files; the steps before it
    still hold it.
    """

    seconds_per_row: ClassVar[float] = 5e-5

    action: Literal["mask", "pseudonym", "hash", "drop"] = "mask"
    """``mask``: ``[EMAIL]``. ``pseudonym``: ``[EMAIL_1]``, with the same number for the same value throughout
    a row. ``hash``: ``[EMAIL_5f0c…]``, the same in all rows. ``drop``: the training row is removed; test rows
    are masked."""
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = KINDS
    """What is looked for: e-mail addresses, IBANs, card numbers (Luhn), Chinese identity numbers (checksum),
    US social security numbers, phone numbers, public IP addresses, and ``secret``: keys and tokens of known
    services, private keys."""
    on: Part = "all"
    """The texts that are searched."""
    salt: str = ""
    """For ``hash``: 16 characters or more. Who has it can test whether a known value was there; it is in the
    records of the store, as the settings of every step are."""

    def problems(self) -> list[Problem]:
        """Return a missing salt: without one, every phone number can be found by trying all."""
        if self.action == "hash" and len(self.salt) < _SALT:
            return [Problem("salt", f"action=hash needs {_SALT} characters or more", ("salt=<random-text>",))]
        return []

    def apply(self, batch: Batch) -> tuple[list[SourcedRow], list[Reason]]:
        """Mask or remove rows."""
        rows, reasons = [], []
        for source in batch:
            counts: Counter[str] = Counter()
            masked = self._masked(source, counts)
            if not counts:
                rows.append(source)
                continue
            kept = self.action != "drop"
            # A report must not show what was masked, so the row before is not given.
            why = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
            rules = [f"pii_{kind}" for kind in sorted(counts)] if kept else ["pii"]
            reasons += [Reason(masked, rule, why, masked if kept else None) for rule in rules]
            if kept:
                rows.append(masked)
        return rows, reasons

    def for_test_rows(self) -> "Pii":
        """Return itself, with masking in the place of removal."""
        return self if self.action != "drop" else self.model_copy(update={"action": "mask"})

    def _masked(self, source: SourcedRow, counts: Counter[str]) -> SourcedRow:
        numbers: dict[tuple[Kind, str], int] = {}
        seen: Counter[Kind] = Counter()

        def name(found: Found, value: str) -> str:
            kind = found.kind.upper()
            value = _FORM.sub("", value).lower()
            counts[found.kind] += 1
            if self.action == "hash":
                digest = blake2b(value.encode(), digest_size=8, key=self.salt.encode()[:64]).hexdigest()
                return f"[{kind}_{digest}]"
            if self.action != "pseudonym":
                return f"[{kind}]"
            if (found.kind, value) not in numbers:
                seen[found.kind] += 1
                numbers[found.kind, value] = seen[found.kind]
            return f"[{kind}_{numbers[found.kind, value]}]"

        def change(text: str) -> str:
            return replaced(text, found, name) if (found := find(text, self.kinds)) else text

        return rewritten(source, self.on, change, calls=True)
