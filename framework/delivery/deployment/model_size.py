"""The size of a release's model, as its lock records it, and the disk and time that a pod needs for it."""

import math

from framework.core.release import Release

UNKNOWN_SPACE = "10Gi"
"""Size limit of the model's volume where neither the config nor the lock gives a size."""
_GIB = 2**30
_ROOM = 1.1
"""Share of the weights that a volume holds besides: tokenizer, templates, and the file system's own use."""


def model_bytes(release: Release) -> int | None:
    """Return the bytes of the published weights; None where the lock does not record them.

    Where an old lock does not name the candidate that it released, the largest that may be it counts.
    """
    sizes = (release.metrics.get(f"{candidate}.size_bytes") for candidate in release.released)
    known = [size for size in sizes if size is not None]
    return math.ceil(max(known)) if known else None


def space_for(size: float) -> str:
    """Return the size limit of a volume for *size* bytes of weights: a tenth more, and one GiB.

    >>> space_for(15.2e9), space_for(87e6)
    ('17Gi', '2Gi')
    """
    return f"{math.ceil(size * _ROOM / _GIB) + 1}Gi"


def seconds_for(size: float, rate: float, period: int) -> int:
    """Return the seconds to read *size* bytes at *rate* bytes per second, in whole periods of a probe.

    >>> seconds_for(15.2e9, 200 * 2**20, 10)
    80
    """
    return math.ceil(size / rate / period) * period


def in_words(size: float) -> str:
    """Return *size* bytes for a message.

    >>> in_words(15.2e9)
    '15.2 GB'
    """
    return f"{size / 1e9:.1f} GB"
