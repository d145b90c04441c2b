"""Weights and matrix products in float16: half the size, 11 significant bits, no value above 65504."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows
from framework.build.compression.sixteen_bit import GRAPHS, half_requires, write_half


class Float16(ExportCompression):
    """float16 for GPUs; on a CPU it saves memory, not time.

    In an ONNX graph, nodes with large activations on training rows stay in float32.
    """

    label: ClassVar[str] = "fp16"
    bits: ClassVar[Literal[4, 8, 16]] = 16
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime", "tensorrt", "openvino", "torch")

    calibration_rows: Annotated[int, Field(gt=0)] = 8
    """Training rows that the range of each node is measured on."""
    largest: Annotated[float, Field(gt=0, le=65504)] = 512
    """Nodes with a larger absolute value stay in float32. It leaves a margin for unseen rows."""

    def requires_for(self, engine: str) -> Mapping[str, str]:
        """Return what casts graphs; see the base class."""
        return half_requires(engine)

    def compress(self, exported: Exported, output: Path) -> None:
        """Cast the export; see the base class."""
        if exported.export.engine not in GRAPHS:
            write_half(exported, output, "fp16")
            return
        with tempfile.TemporaryDirectory() as rows:
            self._write_rows(exported, Path(rows))
            write_half(exported, output, "fp16", data_max=self.largest, calibration_data=rows)

    def _write_rows(self, exported: Exported, folder: Path) -> None:
        """Write the graph's inputs of each calibration row to a file."""
        import numpy as np

        from framework.build.compression.qdq import feed
        from framework.build.engine.onnx_session import open_session

        session = open_session(exported.folder / "model.onnx", threads=0)
        numbers, rows = calibration_rows(exported, self.calibration_rows)
        for number, row in zip(numbers, rows, strict=True):
            arrays: dict[str, Any] = feed(session, row)
            np.savez(folder / f"{number:09}.npz", **arrays)
