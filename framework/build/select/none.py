"""``select=none``: every row that cleaning leaves is used."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from framework.build.clean import Batch, Removal
from framework.build.select import Select

if TYPE_CHECKING:
    import numpy as np


class NoSelection(Select):
    """Take every row."""

    changes_nothing: ClassVar[bool] = True

    def opened(self, rows: Path) -> Self:
        """Return the option: it need not know anything."""
        return self

    def columns(self, batch: Batch) -> "Mapping[str, np.ndarray]":
        """Return no column."""
        return {}

    def decide(self, folder: Path) -> Iterator[Removal]:
        """Leave nothing out."""
        yield from ()
