"""Stage ``tune``: train the weights that the tuning method selects."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from framework.build.data.shards import read_row, read_summary
from framework.build.model import Model
from framework.build.parallelism import Device, Parallelism
from framework.build.stages.tune_estimate import training_memory, training_seconds
from framework.build.task import open_task
from framework.build.tracking import Tracking
from framework.build.training import Training
from framework.build.training.run import NO_TRACKING, Folders, TrainingRun
from framework.build.tuning import Tuning
from framework.core.component import UNKEYED
from framework.core.errors import StepError
from framework.core.step import Stage, Workspace
from framework.core.workload import Estimate, Workload


class Tune(Stage):
    """Train; write what the tuning method saves, and ``log.jsonl``."""

    name: ClassVar[str] = "tune"
    version: ClassVar[int] = 6
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft", "lightning")

    model: Model
    """Opens the base model and names the task."""
    tuning: Tuning
    """Which weights are trained."""
    training: Training
    """How they are trained."""
    parallelism: Parallelism
    """How processes and devices share the work."""
    device: Device
    """The kind of device to train on; another kind rounds differently."""
    seed: Annotated[int, Field(ge=0)]
    """Orders the rows, and initializes adapters and dropout."""

    tracking: Annotated[Tracking, UNKEYED] = NO_TRACKING
    """Where metrics are sent."""
    recovers: Annotated[bool, UNKEYED] = False
    """Whether it trains a compressed model again, which learns the chosen answers of preferences alone, and
    no bad answers."""

    def run(self, inputs: Mapping[str, Path], output: Path, workspace: Workspace) -> None:
        """Train on inputs ``model`` and ``data``, from the last checkpoint of a killed run if there is one.

        A training with a teacher has a third input, ``teacher``.

        Raises:
            StepError: the rows are preferences, and the training would learn the chosen answers alone; or
                they have bad answers, which it would learn as good ones.
        """
        if not (self.training.compares or self.recovers):
            _refuse_preferences(inputs["data"])
        if not (self.training.judges or self.recovers):
            _refuse_bad_answers(inputs["data"])
        run = TrainingRun(
            model=self.model,
            tuning=self.tuning,
            parallelism=self.parallelism,
            device=self.device,
            folders=Folders(
                model=inputs["model"],
                data=inputs["data"],
                teacher=inputs.get("teacher"),
                output=output,
                scratch=workspace.scratch,
            ),
            seed=self.seed,
            tracking=self.tracking,
        )
        if self.parallelism.launched:
            from framework.build.training.launch import train_in_ranks  # a plan needs none of it

            train_in_ranks(self.training, run)
        else:
            self.training.fit(run)

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


def _refuse_preferences(data: Path) -> None:
    """Raise ``StepError`` if the rows of *data* have rejected answers, of which either all or none have."""
    if "rejected" in json.loads(read_row(data / "train", 0) or "{}"):
        raise StepError(
            "training: the rows have rejected answers, from which this option does not learn; set "
            "training=dpo, or give the chosen answers as 'completion' to learn them alone"
        )


def _refuse_bad_answers(data: Path) -> None:
    """Raise ``StepError`` if rows of *data* have bad answers."""
    if bad := read_summary(data)["train"].get("answers", {}).get("undesirable", 0):
        raise StepError(
            f"training: {bad} row{'s have' if bad > 1 else ' has'} label false, bad answers that this option "
            "would learn as good ones; set training=kto, or leave them out"
        )
