"""Several data options in one, each with its share: a pyramid of sources, or old rows beside new ones.

It knows nothing of what its parts read: it only counts their rows and chooses among them.
"""

import hashlib
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.build.data import Data, Line, Split
from framework.core.component import Component
from framework.core.errors import DataError
from framework.core.estimate import DataSize


class Part(Component):
    """One source of a mix."""

    data: Data
    """A data option; its own ``max_length``, ``too_long`` and ``max_rejected`` are not looked at: the
    mix's hold for all."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """Its weight among the parts: 60, 30 and 10 are the same as 0.6, 0.3 and 0.1."""


class Mix(Data):
    """Training rows drawn from several data options by ratio, without repeating a row.

    Which rows are drawn is decided by a hash of seed, part and place: the same everywhere, and more
    ``rows`` keep all that fewer had.
    """

    parts: Annotated[dict[str, Part], Field(min_length=1)]
    """The sources by name, each a data option and its share; their order does not matter. A recipe
    chooses an option by ``/data@data.parts.<name>.data: <option>`` in ``defaults``."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Training rows in all; None takes as many as the parts allow at these shares."""
    repeat: bool = False
    """Draw rows of a part again, each equally often, where it has too few for ``rows``."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides which rows are drawn, and their order."""
    test_parts: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The parts whose test rows are the mix's; None takes those of all parts, whatever their shares.
    Name the new part alone where others only keep old skills alive."""
    test_rows: Annotated[int, Field(ge=1)] | None = None
    """Most test rows, drawn like training rows; None takes all, part by part."""

    @field_validator("parts")
    @classmethod
    def _sort(cls, parts: dict[str, Part]) -> dict[str, Part]:
        # A step's key and its job know no order of keys, so nothing may depend on it.
        return dict(sorted(parts.items()))

    @model_validator(mode="after")
    def _fits_together(self) -> "Mix":
        if unknown := [name for name in self.test_parts or () if name not in self.parts]:
            raise PydanticCustomError(
                "unknown_part",
                "test_parts: there is no part '{name}'; there are {known}",
                {"name": unknown[0], "known": ", ".join(self.parts)},
            )
        if self.repeat and self.rows is None:
            raise PydanticCustomError("endless", "'repeat' needs 'rows', the number to stop at")
        return self

    @property
    def total_share(self) -> float:
        """The sum of all shares."""
        return sum(part.share for part in self.parts.values())

    @property
    def tested(self) -> tuple[str, ...]:
        """The parts whose test rows are the mix's."""
        return self.test_parts or tuple(self.parts)

    def read(self, split: Split) -> Iterator[Line]:
        """Yield the drawn lines, mixed; lines that cannot be read follow, so that each is reported.

        Raises:
            SourceError: a part cannot be had.
            DataError: a part has no rows, or fewer than its share of ``rows``.
        """
        names = self.parts if split == "train" else self.tested
        lines = {name: list(self.parts[name].data.read(split)) for name in names}
        usable = {name: [line for line in found if line.problem is None] for name, found in lines.items()}
        if split == "train":
            yield from self._drawn(usable, self._counts(usable))
        elif self.test_rows is None:
            yield from (line for found in usable.values() for line in found)
        else:
            everything = {name: len(found) for name, found in usable.items()}
            yield from self._drawn(usable, everything)[: self.test_rows]
        yield from (line for found in lines.values() for line in found if line.problem is not None)

    def guess_size(self) -> DataSize:
        """Guess from every part's own guess, and its share."""
        sizes = {
            name: part.data.guess_size().within(part.data.max_length) for name, part in self.parts.items()
        }
        shares = {name: part.share / self.total_share for name, part in self.parts.items()}
        train = self.rows or min(size.train / shares[name] for name, size in sizes.items())
        limit = self.rows or min(size.train_limit / shares[name] for name, size in sizes.items())
        test = sum(sizes[name].test for name in self.tested)
        length = sum(shares[name] * size.length for name, size in sizes.items())
        return DataSize(train, limit, min(test, self.test_rows or test), length)

    def _drawn(self, usable: dict[str, list[Line]], counts: dict[str, int]) -> list[Line]:
        """Return the first ``counts`` of each part in the order of the hash, all of them in that order."""
        drawn: list[tuple[int, bytes, Line]] = []
        for name, lines in usable.items():
            ranked = sorted((self._rank(name, place), place) for place in range(len(lines)))
            passes, rest = divmod(counts[name], len(lines)) if lines else (0, 0)
            for number in range(passes + 1):
                chosen = ranked if number < passes else ranked[:rest]
                drawn += [(number, rank, lines[place]) for rank, place in chosen]
        drawn.sort(key=lambda entry: entry[:2])
        return [line for _, _, line in drawn]

    def _rank(self, part: str, index: int) -> bytes:
        return hashlib.sha256(f"{self.seed}/{part}/{index}".encode()).digest()

    def _counts(self, usable: dict[str, list[Line]]) -> dict[str, int]:
        """Return how many rows each part gives: its share, rounded so that the sum is right."""
        if empty := [name for name, found in usable.items() if not found]:
            raise DataError(f"data.parts.{empty[0]}: it has no training row that can be read")
        shares = {name: part.share / self.total_share for name, part in self.parts.items()}
        if self.rows is not None:
            counts = _rounded(self.rows, shares)
            self._refuse_too_few(counts, usable)
            return counts
        total = min(int(len(found) / shares[name] + 1e-9) for name, found in usable.items())
        return {name: min(count, len(usable[name])) for name, count in _rounded(total, shares).items()}

    def _refuse_too_few(self, counts: dict[str, int], usable: dict[str, list[Line]]) -> None:
        if self.repeat:
            return
        for name, count in counts.items():
            if count > len(usable[name]):
                raise DataError(
                    f"data.parts.{name}: it has {len(usable[name])} rows, its share of data.rows={self.rows} "
                    f"is {count}; lower data.rows or its share, or set data.repeat=true"
                )


def _rounded(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Divide *total* by the largest remainders (Hamilton's method): whole numbers whose sum is *total*.

    >>> _rounded(10, {"general": 0.6, "domain": 0.25, "task": 0.15})
    {'general': 6, 'domain': 3, 'task': 1}
    """
    exact = {name: total * share for name, share in shares.items()}
    counts = {name: int(value + 1e-9) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_rest[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
