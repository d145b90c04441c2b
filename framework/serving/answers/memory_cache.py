"""Answers in this process."""

import time
from collections import OrderedDict
from collections.abc import Callable

OVERHEAD = 400
"""Bytes that one answer takes besides its own: its key, and its place in the order."""


class MemoryCache:
    """Keeps the most recently used answers, up to a number of bytes; one event loop calls it."""

    def __init__(self, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most_bytes, seconds, clock
        self._kept: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self.size = 0
        """Bytes in use."""

    def get(self, key: str) -> bytes | None:
        """Return an answer that was kept less than ``seconds`` ago."""
        ends, body = self._kept.get(key, (0.0, None))
        if body is None:
            return None
        if self._clock() >= ends:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return body

    def put(self, key: str, body: bytes) -> None:
        """Keep an answer, unless it is larger than the whole cache."""
        self._drop(key)
        if len(body) + OVERHEAD > self._most:
            return
        self._kept[key] = (self._clock() + self._seconds, body)
        self.size += len(body) + OVERHEAD
        while self.size > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        if (dropped := self._kept.pop(key, None)) is not None:
            self.size -= len(dropped[1]) + OVERHEAD
