"""Stages ``reshape`` and ``compress``: make a smaller candidate from the model or from its export."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.compression import ExportCompression, Exported, ModelCompression
from framework.build.export import Export
from framework.build.model import Model
from framework.core.step import Stage, Workspace


class Reshape(Stage):
    """Reshape a model before it is trained again and exported."""

    name: ClassVar[str] = "reshape"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    weight_copies: ClassVar[float] = 0.7

    compression: ModelCompression
    """The method."""
    model: Model
    """Opens the folder and names the task."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Reshape input ``model``; input ``data`` has the training rows."""
        self.compression.reshape(self.model, inputs["model"], inputs["data"], output)


class Compress(Stage):
    """Make a compressed candidate from an exported model."""

    name: ClassVar[str] = "compress"
    version: ClassVar[int] = 5
    libraries: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "onnxruntime-genai")
    weight_copies: ClassVar[float] = 0.7

    compression: ExportCompression
    """The method."""
    export: Export
    """The exporter, for methods that quantize during the export."""
    model: Model
    """Names the task."""

    def requires(self) -> Mapping[str, str]:
        """Return the distributions that the method requires for this export; see the base class."""
        return self.compression.requires_for(self.export.engine)

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Compress input ``exported``, the export of input ``model``; input ``data`` has calibration rows."""
        exported = Exported(inputs["exported"], self.export, inputs["model"], inputs["data"], self.model)
        self.compression.compress(exported, output)
        self.export.finish(output, workspace.cache)
