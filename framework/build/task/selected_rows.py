"""A view of some rows; each stays where it is stored."""

from collections.abc import Sequence
from typing import overload

from framework.build.task import Example


class SelectedRows(Sequence[Example]):
    """The rows of *numbers*, in that order."""

    def __init__(self, rows: Sequence[Example], numbers: Sequence[int]) -> None:
        self.rows = rows
        self.numbers = numbers
        """The number of each row among *rows*."""

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> "SelectedRows": ...
    def __getitem__(self, index: int | slice) -> "Example | SelectedRows":
        if isinstance(index, slice):
            return SelectedRows(self.rows, self.numbers[index])
        return self.rows[self.numbers[index]]
