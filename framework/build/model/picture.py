"""Read an image file as pixels. Knows no model."""

from typing import TYPE_CHECKING

from framework.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np


def read_picture(file: str, side: int) -> "np.ndarray":
    """Return the image in *file*, resized to *side* x *side* RGB: uint8 (3 * side * side,), channels first.

    Raises:
        DataError: Pillow is not installed, or cannot read the file.
    """
    import numpy as np

    try:
        from PIL import Image
    except ImportError:
        raise DataError("reading images requires Pillow: pip install 'gitune[vision]'") from None
    try:
        with Image.open(file) as opened:
            picture = opened.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        first_line = str(error).partition("\n")[0].replace(file, "it")
        raise DataError(f"the image cannot be read: {first_line}") from None
    return np.asarray(picture, np.uint8).transpose(2, 0, 1).flatten()
