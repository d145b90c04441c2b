"""Rejected rows: each is written with its file, line and reason; counts and the first few stay in memory."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from framework.build.data import SPLITS, Split
from framework.build.data.row_file import RowFile
from framework.core.errors import DataError

REJECTED = "rejected.jsonl"
_SHOWN = 5


class Rejects(RowFile):
    """The rejected rows of a data stage, and of the stages before it; use it as a context manager."""

    def __init__(self, output: Path, earlier: Path | None = None) -> None:
        """Start ``rejected.jsonl`` in *output*, with the entries of the one in the folder *earlier*."""
        super().__init__(output / REJECTED)
        self._counts: Counter[str] = Counter()
        self._shown: dict[str, list[str]] = {split: [] for split in SPLITS}
        self._own: list[str] = []
        if earlier is not None:
            with (earlier / REJECTED).open(encoding="utf-8") as stream:
                for line in stream:
                    entry = json.loads(line)
                    self.add(entry["split"], entry["file"], entry["line"], entry["reason"])
        self._carried = self._counts.total()
        self._own.clear()

    def add(self, split: Split, file: str, line: int, reason: str) -> None:
        """Record one row."""
        reason = reason.encode(errors="backslashreplace").decode()  # it may quote a lone surrogate
        self.write({"split": split, "file": file, "line": line, "reason": reason})
        self._counts[split] += 1
        message = f"{file}:{line}: {reason}"
        for messages in (self._shown[split], self._own):
            if len(messages) < _SHOWN:
                messages.append(message)

    def count(self, split: Split) -> int:
        """Return how many rows of *split* were rejected, by this stage and those before it."""
        return self._counts[split]

    def require_rows(self, split: Split, rows: int, advice: str = "") -> None:
        """Raise ``DataError`` if *split* has no row left; *advice* is for a split that has had none."""
        if rows:
            return
        if shown := self._shown[split]:
            advice = f"the first was rejected: {shown[0]}"
        raise DataError(f"data: no usable row in split '{split}'" + (f"; {advice}" if advice else ""))

    def require_shares(self, max_rejected: float, rows: Mapping[Split, int]) -> None:
        """Raise ``DataError`` if more than a share of *max_rejected* of a split is rejected.

        Args:
            max_rejected: the share.
            rows: how many rows of each split are left.
        """
        messages = []
        for split, kept in rows.items():
            rejected, shown = self._counts[split], self._shown[split]
            total = kept + rejected
            if rejected <= max_rejected * total:
                continue
            more = [f"… and {rejected - len(shown)} more"] if rejected > len(shown) else []
            heading = (
                f"data: {rejected} of {total} rows of split '{split}' were rejected, more than "
                f"data.max_rejected={max_rejected:g} allows; fix the rows or raise data.max_rejected:"
            )
            messages.append("\n  ".join([heading, *shown, *more]))
        if messages:
            raise DataError("\n".join(messages))

    def report(self) -> None:
        """Print the first few rows that this stage rejected."""
        rejected = self._counts.total() - self._carried
        for message in self._own:
            print(f"  rejected {message}", flush=True)
        if rejected > len(self._own):
            print(f"  … and {rejected - len(self._own)} more; {REJECTED} lists all", flush=True)
