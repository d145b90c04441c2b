"""Stage ``compress``: the smaller candidate that is shipped."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.compression import Compression
from framework.core.step import Stage, Workspace
from framework.export import Export


class Compress(Stage):
    """Make the compressed candidate of an exported model."""

    name: ClassVar[str] = "compress"
    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "onnxruntime-genai")

    compression: Compression
    """The method."""
    export: Export
    """The exporter, for methods that quantise while they export."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Compress input ``exported``, which was made of input ``model``."""
        self.compression.compress(self.export, inputs["model"], inputs["exported"], output)
