"""``select=labels``: as many rows of each label as the rarest one allows."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field

from framework.build.clean import Batch, Removal
from framework.build.clean.column_files import PACKAGES, opened_columns, records
from framework.build.select import Select
from framework.build.select.ranked import draws
from framework.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np

_SURPLUS = """
    with counts as (select label, count(*) as rows from columns group by label),
    most as (select floor({ratio} * min(rows))::bigint as rows from counts)
    select number, label, (select rows from most) as most from (
        select number, label, row_number() over (partition by label order by draw, number) as place
        from columns
    ) where place > (select rows from most) order by number
"""


class Labels(Select):
    """Take at most ``ratio`` times as many rows of each label as the rarest one has; a hash draws them."""

    tasks: ClassVar[tuple[str, ...]] = ("sequence-classification", "image-text-classification")
    seconds_per_row: ClassVar[float] = 1e-5

    ratio: Annotated[float, Field(ge=1)] = 1.0
    """Most rows of a label relative to the rarest one."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Which rows of a label are taken."""

    def requires(self) -> Mapping[str, str]:
        """Return the packages that hash and compare."""
        return {"xxhash": "clean", **PACKAGES}

    def opened(self, rows: Path) -> Self:
        """Return the option: a row's label is in the row."""
        return self

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return the label of each row, and a number by which it is drawn.

        Raises:
            DataError: a row has no label, or several.
        """
        import numpy as np

        labels = []
        for source in batch:
            label = source.row.get("label")
            if not isinstance(label, str):
                raise DataError(
                    f"select.labels: {source.file}:{source.line} has no single label; it balances rows of a "
                    "classifier, `text` with `label`: leave the option out"
                )
            labels.append(label)
        return {"label": np.array(labels), "draw": draws(batch, self.seed)}

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Yield the rows of each label beyond those that are taken."""
        with opened_columns(folder) as connection:
            for number, label, most in records(connection, _SURPLUS.format(ratio=self.ratio)):
                yield Removal(
                    number, "labels", f"label {label!r} has more than the {most} rows taken of each"
                )
