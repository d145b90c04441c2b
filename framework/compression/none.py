"""No compression: the uncompressed export is what is shipped."""

from pathlib import Path
from typing import ClassVar

from framework.compression import Compression
from framework.core.errors import PlanError
from framework.export import Export


class NoCompression(Compression):
    """Ship the float32 export."""

    label: ClassVar[str] = "fp32"
    changes_nothing: ClassVar[bool] = True

    def compress(self, export: Export, model: Path, exported: Path, output: Path) -> None:
        """Refuse: a plan never has a compress step for this option."""
        raise PlanError("compression=none has nothing to compress; choose another option or drop the step")
