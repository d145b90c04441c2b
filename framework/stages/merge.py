"""Stage ``merge``: base and tuned weights as one plain float32 folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.core.step import Stage, Workspace
from framework.export.folder import copy_companions
from framework.model import Model
from framework.tuning import Tuning


class Merge(Stage):
    """Write a Hugging Face folder that transformers, vLLM and every exporter open as it is."""

    name: ClassVar[str] = "merge"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft")

    model: Model
    """Opens the base model."""
    tuning: Tuning
    """Knows how its own weights merge."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Merge input ``tune`` into input ``model``."""
        merged = self.tuning.merge(self.model.open(inputs["model"]), inputs["tune"])
        merged.save_pretrained(output)
        copy_companions(inputs["model"], output)
