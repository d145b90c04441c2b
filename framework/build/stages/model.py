"""Stage ``model``: fetch the base model and write it as a Hugging Face folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.model import Model
from framework.core.step import Stage, Workspace


class FetchModel(Stage):
    """Fetch the base model and write it in float32 with tokenizer and chat template."""

    name: ClassVar[str] = "model"
    version: ClassVar[int] = 3
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")
    weight_copies: ClassVar[float] = 5.0

    model: Model
    """The model option."""
    seed: Annotated[int, Field(ge=0)]
    """Initializes weights that the source does not have, such as a classifier's head."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Write the folder; needs no inputs."""
        self.model.materialize(output, self.seed)
