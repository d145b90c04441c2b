"""The record of one training run: everything that a training option needs, from models to folders.

It travels to other processes as JSON: ``TrainingRun.model_validate(run.dump())`` is equal to ``run``.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from framework.build.model import Model
from framework.build.parallelism import Device, Parallelism
from framework.build.tracking import Tracking
from framework.build.tracking.none import NoTracking
from framework.build.tuning import Tuning
from framework.core.component import Component

NO_TRACKING = NoTracking()


class Folders(Component):
    """Where training reads and writes."""

    model: Path
    """The base model, a Hugging Face folder."""
    data: Path
    """The encoded rows, a finished data step."""
    output: Path
    """Receives the trained weights and ``log.jsonl``."""
    scratch: Path
    """Receives checkpoints; survives a kill. Its name is the step's key."""
    teacher: Path | None = None
    """The teacher's Hugging Face folder; None if the training needs no teacher."""

    def resolved(self) -> Self:
        """Return the same folders as absolute paths, valid in any working directory."""
        paths = {name: path.resolve() for name, path in self if path is not None}
        return self.model_copy(update=paths)


class TrainingRun(Component):
    """What a training option trains, on which devices, and in which folders."""

    model: Model
    """Opens the base model and names the task."""
    tuning: Tuning
    """Which weights are trained."""
    parallelism: Parallelism
    """How processes and devices share the work."""
    device: Device
    """The kind of device to train on."""
    folders: Folders
    """Inputs, output and checkpoints."""
    seed: Annotated[int, Field(ge=0)]
    """Orders the rows, and initializes adapters and dropout."""
    tracking: Tracking = NO_TRACKING
    """Where metrics are sent."""
