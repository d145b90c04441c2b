"""No compression: the uncompressed export is what is shipped."""

from typing import ClassVar

from framework.build.compression import Compression


class NoCompression(Compression):
    """Ship the export as it is; alone, or not at all."""

    label: ClassVar[str] = "fp32"
    changes_nothing: ClassVar[bool] = True
