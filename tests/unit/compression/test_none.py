from pathlib import Path

import pytest

from framework.compression.none import NoCompression
from framework.core.errors import PlanError
from framework.export.onnx import Onnx


def test_the_float_export_is_what_is_shipped(tmp_path: Path) -> None:
    assert NoCompression.changes_nothing
    assert NoCompression.label == "fp32"
    with pytest.raises(PlanError, match="nothing to compress"):
        NoCompression().compress(Onnx(), tmp_path, tmp_path, tmp_path)
