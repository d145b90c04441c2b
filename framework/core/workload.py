"""The records for predicting what a step takes: what a stage is given, and what it returns.

Knows no stage. Every stage estimates itself from a ``Workload``; ``framework.plan.estimate`` makes one
for each step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

LIBRARIES = 0.6 * 2**30
"""Resident memory of Python with torch, transformers and Lightning imported, measured, in bytes."""
DISK = 200e6
"""Bytes per second at which a small machine reads, converts and writes a model."""
VOCABULARY = 50_000
"""Tokens of a vocabulary, which no config states: a usual size."""
GUESSED_ROWS = 1000
"""Rows that are assumed for a source that is not on this machine yet."""
MANY_ROWS = 10**7
"""Training rows that are assumed for such a source where ``training.max_steps`` ends training first."""


@dataclass(frozen=True)
class Estimate:
    """What one step is expected to take."""

    seconds: float
    """Wall-clock time."""
    memory: float
    """Peak resident memory (or GPU memory) in bytes."""


@dataclass(frozen=True)
class DataSize:
    """How much data there is: rows of each split, and their mean length."""

    train: float
    """Training rows."""
    train_limit: float
    """An upper bound of ``train``, for training that ``max_steps`` ends; equal to it where it is known."""
    test: float
    """Held-out rows."""
    length: float
    """Mean tokens of a row; infinite where nothing is known of it."""

    def within(self, max_length: int) -> "DataSize":
        """Return the size with rows of at most *max_length* tokens; of half of it where nothing is known."""
        length = max_length / 2 if math.isinf(self.length) else min(self.length, float(max_length))
        return replace(self, length=length)


@dataclass(frozen=True)
class Workload:
    """What a stage knows when it estimates itself."""

    parameters: float
    """Weights of the model."""
    flops: float
    """Floating-point operations per second of one device."""
    device: str
    """``cpu`` or ``cuda``."""
    data: Mapping[str, DataSize] = field(default_factory=dict)
    """The size of every input that holds rows, by slot."""

    @property
    def weight_bytes(self) -> float:
        """Bytes of the model's float32 weights."""
        return 4 * self.parameters

    def copying(self, copies: float) -> Estimate:
        """Return what it takes to read or write the float32 weights *copies* times at disk speed.

        At most three copies are in memory at once.
        """
        size = self.weight_bytes
        return Estimate(1 + copies * size / DISK, LIBRARIES + min(copies, 3.0) * size)
