"""Stage ``export``: convert the merged model to the format of an engine, uncompressed."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.export import Export
from framework.core.step import Stage, Workspace


class ExportModel(Stage):
    """Write the float32 export, which is released or compressed further."""

    name: ClassVar[str] = "export"
    version: ClassVar[int] = 6
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "onnxruntime-genai", "onnxscript")
    weight_copies: ClassVar[float] = 0.7

    export: Export
    """The exporter."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Export input ``model``."""
        self.export.write(inputs["model"], output)
        self.export.finish(output, workspace.cache)
