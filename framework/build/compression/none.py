"""No compression: the uncompressed export is released."""

from typing import ClassVar

from framework.build.compression import Compression


class NoCompression(Compression):
    """Release the export uncompressed. It cannot be combined with other options of this group."""

    label: ClassVar[str] = "fp32"
    changes_nothing: ClassVar[bool] = True
