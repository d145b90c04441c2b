"""A file of rows that a stage did not take as they are, one JSON object a line."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class RowFile:
    """Writes rows as they come; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Start the file at *path*."""
        self._stream = path.open("w", encoding="utf-8", newline="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def write(self, row: dict[str, Any]) -> None:
        """Write one row."""
        self._stream.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")
