"""Stage ``compress``: a smaller candidate, made of an export or of the model before its export."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.compression import ExportCompression, Exported, ModelCompression
from framework.build.export import Export
from framework.build.model import Model
from framework.core.step import Stage, Workspace


class Reshape(Stage):
    """Change a model's folder before it is trained again and exported."""

    name: ClassVar[str] = "reshape"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    weight_copies: ClassVar[float] = 0.7

    compression: ModelCompression
    """The method."""
    model: Model
    """Opens the folder and names the task."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Reshape input ``model``; input ``data`` has the rows that it may look at."""
        self.compression.reshape(self.model, inputs["model"], inputs["data"], output)


class Compress(Stage):
    """Make a compressed candidate of an exported model."""

    name: ClassVar[str] = "compress"
    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "onnxruntime-genai")
    weight_copies: ClassVar[float] = 0.7

    compression: ExportCompression
    """The method."""
    export: Export
    """The exporter, for methods that quantize while they export."""
    model: Model
    """Names the task."""

    def requires(self) -> Mapping[str, str]:
        """Return what the method works with on this export; see the base class."""
        return self.compression.requires_for(self.export.engine)

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Compress input ``exported``, which was made of input ``model``; input ``data`` calibrates it."""
        made_of = Exported(inputs["exported"], self.export, inputs["model"], inputs["data"], self.model)
        self.compression.compress(made_of, output)
        self.export.finish(output, workspace.cache)
