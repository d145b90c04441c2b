"""Weights and products in float16: half the bytes and 11 significant bits, but nothing above 65504."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from framework.build.compression import ExportCompression, Exported
from framework.build.compression.calibration import calibration_rows
from framework.build.compression.sixteen_bit import GRAPHS, half_requires, make_half


class Float16(ExportCompression):
    """16 bits for GPUs; on a CPU it saves memory, not time.

    In a graph, the nodes that training rows take to large values stay in float32.
    """

    label: ClassVar[str] = "fp16"
    bits: ClassVar[Literal[4, 8, 16]] = 16
    exports: ClassVar[tuple[str, ...]] = ("onnxruntime", "tensorrt", "openvino", "torch")

    calibration_rows: Annotated[int, Field(gt=0)] = 8
    """Training rows that show how large values become in a graph."""
    largest: Annotated[float, Field(gt=0, le=65504)] = 512
    """A node of a graph stays in float32 where a value was larger: rows yet unseen may go further."""

    def requires_for(self, engine: str) -> Mapping[str, str]:
        """Return what casts graphs; see the base class."""
        return half_requires(engine)

    def compress(self, exported: Exported, output: Path) -> None:
        """Cast what was exported; see the base class."""
        if exported.export.engine not in GRAPHS:
            make_half(exported, output, "fp16")
            return
        with tempfile.TemporaryDirectory() as rows:
            self._write_rows(exported, Path(rows))
            make_half(exported, output, "fp16", data_max=self.largest, calibration_data=rows)

    def _write_rows(self, exported: Exported, folder: Path) -> None:
        """Write the graph's inputs for each calibration row as a file."""
        import numpy as np

        from framework.build.compression.qdq import feed
        from framework.build.engine.onnx_session import open_session

        session = open_session(exported.folder / "model.onnx", threads=0)
        numbers, rows = calibration_rows(exported.data, self.calibration_rows)
        for number, row in zip(numbers, rows, strict=True):
            arrays: dict[str, Any] = feed(session, row)
            np.savez(folder / f"{number:09}.npz", **arrays)
