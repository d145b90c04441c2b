"""Several data options mixed by share: general, domain and task rows, or new rows with old ones.

It does not know what its parts read: it counts their rows and chooses among them. The lines of a split
are spooled to a temporary file, so that only an index of some 50 bytes per line stays in memory.
"""

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from framework.build.data import Data, Line, Split
from framework.build.data.line_spool import LineSpool
from framework.core.component import Component
from framework.core.errors import DataError
from framework.core.problem import Problem
from framework.core.workload import DataSize

if TYPE_CHECKING:
    import numpy as np


class Part(Component):
    """One source of a mix."""

    data: Data
    """A data option. Its own ``max_length``, ``too_long``, ``max_rejected``, ``max_overlap`` and ``loss_on``
    are ignored; the mix's apply to all parts. A part's ``ignore`` applies to its rows, the mix's to all."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """Its weight among the parts: 60, 30 and 10 are the same as 0.6, 0.3 and 0.1."""


class Mix(Data):
    """Training rows drawn from several data options by ratio, without repeating a row.

    A hash of seed, part and position decides which rows are drawn. The choice is the same everywhere, and
    a larger ``rows`` keeps all rows of a smaller one.
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
    Name only the new part where the others are there to keep old skills."""
    test_rows: Annotated[int, Field(ge=1)] | None = None
    """Most test rows, drawn like training rows; None takes all, part by part."""

    @field_validator("parts")
    @classmethod
    def _sort(cls, parts: dict[str, Part]) -> dict[str, Part]:
        # A step's key and its job ignore the order of keys, so nothing may depend on it.
        return dict(sorted(parts.items()))

    @model_validator(mode="after")
    def _check_combination(self) -> "Mix":
        if unknown := [name for name in self.test_parts or () if name not in self.parts]:
            raise PydanticCustomError(
                "unknown_part",
                "test_parts: unknown part '{name}'; the parts are {parts}",
                {"name": unknown[0], "parts": ", ".join(self.parts)},
            )
        if self.repeat and self.rows is None:
            raise PydanticCustomError("endless", "'repeat' requires 'rows', the number of rows to stop at")
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
        """Yield the drawn lines, mixed; lines that cannot be read come last, so that each is reported.

        Raises:
            SourceError: a part cannot be fetched.
            DataError: a part has no rows, or fewer than its share of ``rows``.
        """
        names = tuple(self.parts) if split == "train" else self.tested
        with ExitStack() as stack:
            unreadable = stack.enter_context(LineSpool())
            usable = {name: stack.enter_context(LineSpool()) for name in names}
            for name, lines in usable.items():
                part = self.parts[name].data
                for line in part.read(split):
                    line = replace(line, ignore=(*line.ignore, *part.ignore))
                    (lines if line.problem is None else unreadable).append(line)
            if split == "train":
                yield from self._draw(usable, self._counts(usable))
            elif self.test_rows is None:
                for lines in usable.values():
                    yield from lines
            else:
                everything = {name: len(lines) for name, lines in usable.items()}
                yield from islice(self._draw(usable, everything), self.test_rows)
            yield from unreadable

    def problems(self) -> list[Problem]:
        """Return those of every part."""
        problems = []
        for name, part in self.parts.items():
            data = part.data.model_copy(update={"max_overlap": self.max_overlap})
            fields = type(data).model_fields
            problems += [problem.below(f"parts.{name}.data", fields) for problem in data.problems()]
        return problems

    def left_out(self) -> Mapping[str, int]:
        """Return those of every part, with the part's name."""
        return {
            f"{name}: {reason}": count
            for name, part in self.parts.items()
            for reason, count in part.data.left_out().items()
        }

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

    def _draw(self, usable: Mapping[str, LineSpool], counts: Mapping[str, int]) -> Iterator[Line]:
        """Yield the first ``counts`` lines of each part by hash, all parts merged in the order of the hash.

        A part with fewer lines than its count is drawn again in a further pass; each pass is merged alone.
        """
        ranks = {name: self._ranks(name, len(lines)) for name, lines in usable.items()}
        passes = {name: divmod(counts[name], len(lines)) for name, lines in usable.items() if lines}
        for number in range(max((full for full, _ in passes.values()), default=0) + 1):
            chosen = []
            for name, (full, rest) in passes.items():
                size = len(usable[name]) if number < full else rest if number == full else 0
                chosen.append(_in_order(name, ranks[name], size))
            for _, name, position in heapq.merge(*chosen):
                yield usable[name][position]

    def _ranks(self, part: str, count: int) -> "np.ndarray":
        """Return (count, 4) big-endian uint64: the sha256 that ranks each line of *part*."""
        import numpy as np

        digests = bytearray()
        for position in range(count):
            digests += hashlib.sha256(f"{self.seed}/{part}/{position}".encode()).digest()
        return np.frombuffer(bytes(digests), ">u8").reshape(count, 4)

    def _counts(self, usable: Mapping[str, LineSpool]) -> dict[str, int]:
        """Return how many rows are drawn from each part: its share, rounded so that the sum is right."""
        if empty := [name for name, lines in usable.items() if not lines]:
            raise DataError(f"data.parts.{empty[0]}: it has no readable training row")
        shares = {name: part.share / self.total_share for name, part in self.parts.items()}
        if self.rows is not None:
            counts = _rounded(self.rows, shares)
            self._require_enough(counts, usable)
            return counts
        total = min(int(len(lines) / shares[name] + 1e-9) for name, lines in usable.items())
        return {name: min(count, len(usable[name])) for name, count in _rounded(total, shares).items()}

    def _require_enough(self, counts: Mapping[str, int], usable: Mapping[str, LineSpool]) -> None:
        if self.repeat:
            return
        for name, count in counts.items():
            if count > len(usable[name]):
                raise DataError(
                    f"data.parts.{name}: it has {len(usable[name])} rows, but its share of data.rows="
                    f"{self.rows} is {count}; lower data.rows or its share, or set data.repeat=true"
                )


def _in_order(part: str, ranks: "np.ndarray", size: int) -> Iterator[tuple[bytes, str, int]]:
    """Yield ``(rank, part, position)`` of the *size* lines with the smallest ranks, smallest first."""
    import numpy as np

    # lexsort sorts by its last key first.
    for position in np.lexsort(ranks.T[::-1])[:size]:
        yield ranks[position].tobytes(), part, int(position)


def _rounded(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Divide *total* by the largest remainders (Hamilton's method) into integers whose sum is *total*.

    >>> _rounded(10, {"general": 0.6, "domain": 0.25, "task": 0.15})
    {'general': 6, 'domain': 3, 'task': 1}
    """
    exact = {name: total * share for name, share in shares.items()}
    counts = {name: int(value + 1e-9) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
