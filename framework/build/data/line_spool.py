"""Lines set aside in a temporary file: read once in order, then again in any order, without holding them."""

import pickle
import tempfile
from array import array
from collections.abc import Sequence
from types import TracebackType
from typing import Self, overload

from framework.build.data import Line


class LineSpool(Sequence[Line]):
    """An append-only sequence of lines on disk; 8 bytes per line stay in memory. Close it after use.

    The file is private to this process and has no name, so pickle, which keeps the types that Parquet
    has and JSON lacks, is safe here.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - __exit__ closes it
        self._ends = array("Q")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, line: Line) -> None:
        """Add *line* at the end."""
        data = pickle.dumps(line)
        self._file.seek(self._ends[-1] if self._ends else 0)
        self._file.write(data)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(data))

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> list[Line]: ...
    def __getitem__(self, index: int | slice) -> Line | list[Line]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        start = self._ends[number - 1] if number else 0
        self._file.seek(start)
        line: Line = pickle.loads(self._file.read(self._ends[number] - start))
        return line
