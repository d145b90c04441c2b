"""``clean=exact``: of equal rows, the first one stays."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.build.clean import Batch, CorpusClean, Removal
from framework.build.clean.column_files import PACKAGES, opened_columns, records
from framework.build.clean.row_texts import Part, comparable, target_of
from framework.build.data.shards import SourcedRow, to_json

if TYPE_CHECKING:
    import numpy as np

_REPEATED = """
    select number, file, line from (
        select number, first_value(file) over rows_alike as file, first_value(line) over rows_alike as line,
               row_number() over rows_alike as position
        from columns
        window rows_alike as (partition by high, low order by number)
    ) where position > 1 order by number
"""


class Exact(CorpusClean):
    """Remove training rows that are equal to an earlier one, by 128-bit xxHash digests.

    Two different rows have the same digest with a probability of 1e-23 among ten million.
    """

    seconds_per_row: ClassVar[float] = 3e-5

    on: Part = "all"
    """What must be equal. ``all``: the whole row, with its label and image. ``prompt`` or ``answer``: that
    part alone, so that of several answers to one prompt the first stays."""

    def requires(self) -> Mapping[str, str]:
        """Return the packages that hash and compare."""
        return {"xxhash": "clean", **PACKAGES}

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return the digest of each row as two 64-bit integers."""
        import numpy as np
        import xxhash

        digests = b"".join(xxhash.xxh3_128_digest(self._compared(row)) for row in batch)
        pairs = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
        return {"high": pairs[:, 0], "low": pairs[:, 1]}

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield every row whose digest an earlier row has."""
        with opened_columns(folder) as connection:
            for number, file, line in records(connection, _REPEATED):
                yield Removal(number, "exact", f"the same {self._named} as {file}:{line}")

    @property
    def _named(self) -> str:
        return "row" if self.on == "all" else self.on

    def _compared(self, source: SourcedRow) -> bytes:
        row = source.row
        if self.on == "all":
            return (to_json(row, sort_keys=True) + target_of(source, row)).encode()
        return comparable(row, self.on).encode()
