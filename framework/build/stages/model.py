"""Stage ``model``: fetch the base model and write it as a Hugging Face folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.engine.model_folder import read_json
from framework.build.export import Export
from framework.build.model import Model
from framework.core.component import UNKEYED
from framework.core.errors import StepError
from framework.core.step import Stage, Workspace


class FetchModel(Stage):
    """Fetch the base model and write it in float32 with tokenizer and chat template."""

    name: ClassVar[str] = "model"
    version: ClassVar[int] = 4
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    weight_copies: ClassVar[float] = 5.0

    model: Model
    """The model option."""
    seed: Annotated[int, Field(ge=0)]
    """Initializes weights that the source does not have, such as a classifier's head."""

    export: Annotated[Export | None, UNKEYED] = None
    """What will export the tuned model. One that cannot stops the plan here, before training."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Write the folder; needs no inputs.

        Raises:
            StepError: the export does not support the model.
        """
        self.model.materialize(output, self.seed)
        self.accept(output)

    def accept(self, folder: Path) -> None:
        """Raise a StepError if the export does not support the model in *folder*."""
        config = read_json(folder, "config.json")
        if config and self.export and (reason := self.export.unsupported(config)):
            raise StepError(f"export: {reason}; set export=transformers")
