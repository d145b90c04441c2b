"""Drift of the newest requests, as gauges."""

import threading
import time
from collections import deque
from collections.abc import Iterable

from framework.requestlog.drift import Drift, Reference, Sample

FEATURES = ("prompt_words", "answer_words", "label")
_KEPT_SECONDS = 5.0
"""How long a result is shown before it is computed again: each scrape asks for several gauges."""


class DriftWatch:
    """The newest requests beside a reference; the server's first requests, if there is no other."""

    def __init__(self, window: int, reference: Iterable[Sample] = ()) -> None:
        """Begin.

        Args:
            window: how many of the newest requests are compared, and how many are the reference if none is
                given.
            reference: samples of what is usual.
        """
        self._window = window
        self._newest: deque[Sample] = deque(maxlen=window)
        self._first: list[Sample] = []
        given = list(reference)
        self._reference = Reference(given) if given else None
        self._lock = threading.Lock()  # scrapes may come from other threads
        self._shown: Drift | None = None
        self._until = 0.0

    def add(self, sample: Sample) -> None:
        """Take one finished request."""
        with self._lock:
            if self._reference is not None:
                self._newest.append(sample)
                return
            self._first.append(sample)
            if len(self._first) >= self._window:
                self._reference, self._first = Reference(self._first), []

    def drift(self) -> Drift | None:
        """Return how far the newest requests are away; None until there are enough."""
        now = time.monotonic()
        with self._lock:
            if now >= self._until and self._reference is not None:
                self._shown = self._reference.compare(list(self._newest))
                self._until = now + _KEPT_SECONDS
            return self._shown

    def psi(self, feature: str) -> float:
        """Return the population stability index of a feature; NaN until it is known."""
        found = self.drift()
        return float("nan") if found is None else found.psi.get(feature, float("nan"))

    def sigmas(self, feature: str) -> float:
        """Return the distance of a mean length in standard deviations; NaN until it is known."""
        found = self.drift()
        return float("nan") if found is None else found.sigmas.get(feature, float("nan"))

    def unseen(self) -> float:
        """Return the share of new words; NaN until it is known."""
        found = self.drift()
        return float("nan") if found is None else found.unseen
