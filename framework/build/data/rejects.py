"""Rejected rows: each is written with its file, line and reason; counts and the first few stay in memory."""

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from framework.build.data import Split
from framework.core.errors import DataError

REJECTED = "rejected.jsonl"
_SHOWN = 5


class Rejects:
    """The rejected rows of a data stage, and of the stages before it; use it as a context manager."""

    def __init__(self, output: Path, earlier: Path | None = None) -> None:
        """Start ``rejected.jsonl`` in *output*, with the entries of the one in the folder *earlier*."""
        self._stream = (output / REJECTED).open("w", encoding="utf-8", newline="\n")
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._shown: list[str] = []
        self._own: list[str] = []
        if earlier is not None:
            with (earlier / REJECTED).open(encoding="utf-8") as stream:
                for line in stream:
                    entry = json.loads(line)
                    self.add(entry["split"], entry["file"], entry["line"], entry["reason"])
        self._carried = self._counts.total()
        self._own.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, split: Split, file: str, line: int, reason: str) -> None:
        """Record one row."""
        reason = reason.encode(errors="backslashreplace").decode()  # it may quote a lone surrogate
        entry = {"split": split, "file": file, "line": line, "reason": reason}
        self._stream.write(json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n")
        self._counts[split] += 1
        message = f"{file}:{line}: {reason}"
        self._first.setdefault(split, message)
        for messages in (self._shown, self._own):
            if len(messages) < _SHOWN:
                messages.append(message)

    def count(self, split: Split) -> int:
        """Return how many rows of *split* were rejected, by this stage and those before it."""
        return self._counts[split]

    def require_rows(self, split: Split, rows: int) -> None:
        """Raise ``DataError`` if *split* has no row left."""
        if rows:
            return
        first = f"; the first was rejected: {self._first[split]}" if split in self._first else ""
        raise DataError(f"data: no usable row in split '{split}'{first}")

    def require_share(self, max_rejected: float, rows: int) -> None:
        """Raise ``DataError`` if more than a share of *max_rejected* is rejected; *rows* are left."""
        rejected = self._counts.total()
        total = rows + rejected
        if rejected <= max_rejected * total:
            return
        shown = "\n".join(f"  {message}" for message in self._shown)
        more = f"\n  … and {rejected - _SHOWN} more" if rejected > _SHOWN else ""
        raise DataError(
            f"data: {rejected} of {total} rows were rejected, more than data.max_rejected={max_rejected:g} "
            f"allows; fix the rows or raise data.max_rejected:\n{shown}{more}"
        )

    def report(self) -> None:
        """Print the first few rows that this stage rejected."""
        rejected = self._counts.total() - self._carried
        for message in self._own:
            print(f"  rejected {message}", flush=True)
        if rejected > len(self._own):
            print(f"  … and {rejected - len(self._own)} more; {REJECTED} lists all", flush=True)
