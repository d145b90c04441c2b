"""Stage ``merge``: write base and tuned weights as one Hugging Face folder in float32."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from framework.build.engine.attached_adapter import WEIGHTS
from framework.build.engine.model_folder import ADAPTER, ADAPTER_CONFIG
from framework.build.export.companion_files import copy_companions
from framework.build.model import Model
from framework.build.tuning import Tuning
from framework.core.step import Stage, Workspace
from framework.core.store import RECORD


class Merge(Stage):
    """Write a Hugging Face folder for transformers, vLLM and every exporter.

    An adapter that cannot be merged is in ``adapter/`` below the unchanged base.
    """

    name: ClassVar[str] = "merge"
    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft")
    weight_copies: ClassVar[float] = 0.6

    model: Model
    """Opens the base model."""
    tuning: Tuning
    """Merges its own weights."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Merge input ``tune`` into input ``model``, or copy both."""
        if not self.tuning.merges:
            shutil.copytree(
                inputs["model"], output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD)
            )
            (output / ADAPTER).mkdir()
            for name in (ADAPTER_CONFIG, WEIGHTS):
                shutil.copyfile(inputs["tune"] / name, output / ADAPTER / name)
            return
        merged = self.tuning.merge(self.model.open(inputs["model"]), inputs["tune"])
        merged.save_pretrained(output)
        copy_companions(inputs["model"], output)
