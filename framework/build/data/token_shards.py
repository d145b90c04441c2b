"""Token ids of encoded rows: one safetensors file beside each shard of rows, read row by row.

A file holds ``input_ids`` and ``labels`` (1-D int32, all rows of the shard end to end) and
``input_lengths`` and ``label_lengths`` (1-D int64, one number per row). Where rows have more parts, it
also holds ``part_2`` (uint8 where the part is, else int32) with ``part_2_lengths``, and so on.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_FIRST_PARTS = (("input_ids", "input_lengths"), ("labels", "label_lengths"))
_DTYPES = {"I32": "<i4", "I64": "<i8", "U8": "|u1"}


def part_names(part: int) -> tuple[str, str]:
    """Return the names of the tensors with a part's values and lengths.

    >>> part_names(1), part_names(2)
    (('labels', 'label_lengths'), ('part_2', 'part_2_lengths'))
    """
    return _FIRST_PARTS[part] if part < len(_FIRST_PARTS) else (f"part_{part}", f"part_{part}_lengths")


def write_tokens(file: Path, rows: "Sequence[tuple[np.ndarray, ...]]") -> None:
    """Write the parts of *rows*, which all have the same number of parts, to *file*."""
    import numpy as np
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    for part, arrays in enumerate(zip(*rows, strict=True)):
        values, lengths = part_names(part)
        tensors[values] = np.concatenate(arrays)
        tensors[lengths] = np.array([len(array) for array in arrays], dtype=np.int64)
    save_file(tensors, file)


class TokenRows(Sequence["tuple[Tensor, ...]"]):
    """The encoded rows of a split, each ``(input_ids, labels, *more)``: 1-D tensors of int64 or uint8.

    Nothing but an index stays in memory, 8 bytes per row and part: a row's bytes are read from its file
    when it is asked for, and iterating reads one shard at a time. A slice is a view.
    """

    def __init__(self, folder: Path) -> None:
        """Open every shard of *folder*, such as ``<output of encode>/train``.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        if not folder.is_dir():
            raise FileNotFoundError(folder)
        files = sorted(folder.glob("*.safetensors"), key=lambda file: int(file.stem))
        self._shards = [_Shard(file) for file in files]
        self._first_rows = [0]
        for shard in self._shards:
            self._first_rows.append(self._first_rows[-1] + shard.rows)
        self._rows = range(self._first_rows[-1])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> "tuple[Tensor, ...]": ...
    @overload
    def __getitem__(self, index: slice) -> "TokenRows": ...
    def __getitem__(self, index: int | slice) -> "tuple[Tensor, ...] | TokenRows":
        if isinstance(index, slice):
            view = object.__new__(TokenRows)
            view._shards, view._first_rows, view._rows = self._shards, self._first_rows, self._rows[index]
            return view
        row = self._rows[index]
        shard = bisect_right(self._first_rows, row) - 1
        return self._shards[shard].row(row - self._first_rows[shard])

    def __iter__(self) -> "Iterator[tuple[Tensor, ...]]":
        if self._rows != range(self._first_rows[-1]):
            yield from (self[index] for index in range(len(self)))
            return
        for shard in self._shards:
            yield from shard.all_rows()


class _Values(NamedTuple):
    """Where the values of one part are in a file."""

    dtype: str
    offset: int
    """Bytes from the start of the file."""
    item_size: int
    starts: "np.ndarray"
    """(rows + 1,), int64: where each row begins, counted in values; the last is the end."""


class _Shard:
    """One file. Only its header and the rows' lengths are read when it is opened."""

    def __init__(self, file: Path) -> None:
        import numpy as np

        self.file = file
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(size))
        header.pop("__metadata__", None)
        self.parts: list[_Values] = []
        for part in range(len(header) // 2):
            values, lengths = (header[name] for name in part_names(part))
            counted = np.fromfile(
                file,
                _DTYPES[lengths["dtype"]],
                count=lengths["shape"][0],
                offset=8 + size + lengths["data_offsets"][0],
            )
            starts = np.concatenate([np.zeros(1, np.int64), counted.cumsum()])
            dtype = _DTYPES[values["dtype"]]
            offset = 8 + size + values["data_offsets"][0]
            self.parts.append(_Values(dtype, offset, np.dtype(dtype).itemsize, starts))
        self.rows = len(self.parts[0].starts) - 1 if self.parts else 0

    def row(self, number: int) -> "tuple[Tensor, ...]":
        """Read one row."""
        return tuple(
            self._read(part, int(part.starts[number]), int(part.starts[number + 1])) for part in self.parts
        )

    def all_rows(self) -> "Iterator[tuple[Tensor, ...]]":
        """Read the shard at once and yield its rows."""
        import numpy as np
        import torch

        split = [
            torch.split(self._read(part, 0, int(part.starts[-1])), np.diff(part.starts).tolist())
            for part in self.parts
        ]
        yield from zip(*split, strict=True)

    def _read(self, part: _Values, start: int, stop: int) -> "Tensor":
        import numpy as np
        import torch

        # Read, not mapped: mapped pages would count as this process's memory until the system drops them.
        values = np.fromfile(
            self.file, part.dtype, count=stop - start, offset=part.offset + start * part.item_size
        )
        return torch.from_numpy(values if values.dtype == np.uint8 else values.astype(np.int64))
