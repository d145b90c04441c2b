"""Hashes of every window of some characters of texts, and a filter of those that are there more than once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np

_CHARACTERS = 2**20
"""About how many characters are hashed at once, to bound the memory."""
_LEAST, _MOST = 2**16, 2**27
"""Places of a filter."""


@dataclass(frozen=True)
class Windows:
    """The windows of some texts, in order."""

    hashes: "np.ndarray"
    """64-bit hashes."""
    texts: "np.ndarray"
    """The number of each one's text, from 0."""
    places: "np.ndarray"
    """Where each one begins in its text, in characters."""

    def where(self, chosen: "np.ndarray") -> "Windows":
        """Return the windows for which *chosen* is true."""
        return Windows(self.hashes[chosen], self.texts[chosen], self.places[chosen])


def windows_of(texts: Sequence[str], length: int) -> Iterator[Windows]:
    """Yield the windows of *length* characters of *texts*, none of which reaches into the next text."""
    group: list[str] = []
    first = size = 0
    for number, text in enumerate(texts):
        group.append(text)
        size += len(text)
        if size >= _CHARACTERS or number == len(texts) - 1:
            yield _windows(group, first, length)
            group, size, first = [], 0, number + 1


def _windows(texts: Sequence[str], first: int, length: int) -> Windows:
    import numpy as np

    sizes = np.array([len(text) for text in texts], np.int64)
    starts = np.cumsum(sizes) - sizes
    counts = np.maximum(sizes - length + 1, 0)
    numbers = np.repeat(np.arange(len(texts)), counts)
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    characters = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    hashes = _rolled(characters, length) if len(numbers) else np.zeros(0, np.uint64)
    return Windows(hashes[starts[numbers] + places], numbers + first, places)


def _rolled(characters: "np.ndarray", length: int) -> "np.ndarray":
    """Return the hash of every window: of twice as many characters from the hashes of two halves."""
    import numpy as np

    hashes = characters.astype(np.uint64) + np.uint64(1)
    size = 1
    while size < length:
        step = min(size, length - size)
        mixed = hashes[:-step] * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed += hashes[step:]
        mixed *= np.uint64(0xD6E8FEB86659FD93)
        mixed ^= mixed >> np.uint64(29)
        hashes, size = mixed, size + step
    return hashes


class RepeatFilter:
    """Tells which hashes were added more than once; now and then also one that was not."""

    def __init__(self, hashes: int) -> None:
        """Start empty, with 4 places for each of about so many *hashes*, at most 128 MB."""
        import numpy as np

        places = min(max(1 << (4 * hashes).bit_length(), _LEAST), _MOST)
        self._seen = np.zeros(places, np.uint8)

    def add(self, hashes: "np.ndarray") -> None:
        """Add *hashes*."""
        import numpy as np

        places = np.sort(hashes & np.uint64(len(self._seen) - 1))
        again = self._seen[places] > 0
        again[1:] |= places[1:] == places[:-1]
        self._seen[places] |= np.uint8(1)
        self._seen[places[again]] = 2

    def packed(self) -> Self:
        """Return the filter as one that can only be asked, in an eighth of the memory."""
        import numpy as np

        copy = type(self)(0)
        copy._seen = np.packbits(self._seen == 2, bitorder="little")
        return copy

    def repeated(self, hashes: "np.ndarray") -> "np.ndarray":
        """Return for each of *hashes* whether it was added more than once; ask the ``packed`` filter."""
        import numpy as np

        places = hashes & np.uint64(8 * len(self._seen) - 1)
        bits = self._seen[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)
        found: np.ndarray = (bits & np.uint8(1)).astype(bool)
        return found
