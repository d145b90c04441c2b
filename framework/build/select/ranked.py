"""What the options share that take the first rows of an order."""

from abc import ABC
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from framework.build.clean import Batch, Removal
from framework.build.clean.column_files import opened_columns, records
from framework.build.clean.row_texts import Part
from framework.build.select import Select
from framework.build.select.word_weights import PACKAGES

if TYPE_CHECKING:
    import numpy as np

_HALF = 0.5


class Ranked(Select, ABC):
    """Takes the first rows of an order over the columns; of equal ones, those that are read first."""

    order: ClassVar[str] = "score desc"
    """The order in SQL."""
    ordered: ClassVar[str] = "columns"
    """What is ordered: the columns, or a query over them in parentheses."""
    shown: ClassVar[str] = "score"
    """The column that a row's reason names."""

    on: Part = "all"
    """The texts of a row that are judged."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the rows that is taken; half of them if neither it nor ``rows`` is set."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """The number of rows that is taken; it replaces ``share``."""

    def requires(self) -> Mapping[str, str]:
        """Return the packages that weigh words and compare rows."""
        return PACKAGES

    def expected(self, rows: float) -> float:
        """Return how many of *rows* are taken: at least one."""
        if self.rows is not None:
            return min(rows, self.rows)
        return max(1, round(rows * (_HALF if self.share is None else self.share)))

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield every row after the last one that is taken."""
        rule = type(self).__name__.lower()
        with opened_columns(folder) as connection:
            (total,) = next(records(connection, "select count(*) from columns"))
            most = int(self.expected(total))
            query = f"""
                select number, {self.shown}, place from (
                    select *, row_number() over (order by {self.order}, number) as place from {self.ordered}
                ) where place > {most} order by number
            """
            for number, value, place in records(connection, query):
                yield Removal(
                    number, rule, f"{self.shown} {value:g} is place {place}, after the {most} taken"
                )


def draws(batch: Batch, seed: int) -> "np.ndarray":
    """Return a random 64-bit number for each row; it depends on the row, its origin and *seed* alone."""
    import numpy as np
    import xxhash

    places = (f"{source.file}:{source.line}:{source.text}".encode() for source in batch)
    return np.array([xxhash.xxh3_64_intdigest(place, seed) for place in places], np.uint64)
