"""Stage ``tune``: train the chosen weights."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.model import Model
from framework.build.parallelism import Device, Parallelism
from framework.build.stages.tune_estimate import training_memory, training_seconds
from framework.build.task import open_task
from framework.build.tracking import Tracking
from framework.build.training import NO_TRACKING, Folders, Training
from framework.build.training.launch import train_in_ranks
from framework.build.tuning import Tuning
from framework.core.component import UNKEYED
from framework.core.estimate import Estimate, Workload
from framework.core.step import Stage, Workspace


class Tune(Stage):
    """Train; writes what the tuning method saves, and ``log.jsonl``."""

    name: ClassVar[str] = "tune"
    version: ClassVar[int] = 5
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft", "lightning")

    model: Model
    """Opens the base model and names the task."""
    tuning: Tuning
    """What is trained."""
    training: Training
    """How it is trained."""
    parallelism: Parallelism
    """On how many devices it is trained."""
    device: Device
    """On which kind of device: another kind rounds otherwise."""
    seed: Annotated[int, Field(ge=0)]
    """Orders the rows and draws adapters and dropout."""

    tracking: Annotated[Tracking, UNKEYED] = NO_TRACKING
    """Where its numbers are watched."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Train on inputs ``model`` and ``data``, from a checkpoint where a killed run left one.

        Input ``teacher`` is there where the training has one.
        """
        teacher = inputs.get("teacher")
        folders = Folders(inputs["model"], inputs["data"], output, workspace.scratch, teacher)
        train = partial(train_in_ranks, self.training) if self.parallelism.launched else self.training.fit
        train(self.model, self.tuning, self.parallelism, self.device, folders, self.seed, self.tracking)

    def estimate(self, workload: Workload) -> Estimate:
        """Predict by the formulas of ``framework.build.stages.tune_estimate``."""
        size = workload.data["data"]
        rows = size.train if self.training.max_steps is None else size.train_limit
        seconds = training_seconds(self.training, self.tuning, self.parallelism, workload, rows, size.length)
        memory = training_memory(
            self.training,
            self.tuning,
            self.parallelism,
            parameters=workload.parameters,
            length=size.length,
            generates=open_task(self.model.task).generates,
            on_cpu=workload.device == "cpu",
        )
        return Estimate(seconds, memory)
