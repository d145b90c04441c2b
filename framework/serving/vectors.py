"""Vectors as text: base64 of their float32 numbers, little-endian, as OpenAI's API has them."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_NUMBER = "<f4"


def write_vector(vector: "np.ndarray") -> str:
    """Return a vector, (dimensions,), as text.

    >>> import numpy as np
    >>> write_vector(np.array([1.0, -0.5]))
    'AACAPwAAAL8='
    """
    return base64.b64encode(vector.astype(_NUMBER).tobytes()).decode("ascii")


def read_vectors(texts: Sequence[str]) -> "np.ndarray":
    """Return what ``write_vector`` wrote as float32 (texts, dimensions).

    >>> read_vectors(["AACAPwAAAL8="]).tolist()
    [[1.0, -0.5]]
    """
    import numpy as np

    joined = b"".join(map(base64.b64decode, texts))
    return np.frombuffer(joined, _NUMBER).reshape(len(texts), -1)
