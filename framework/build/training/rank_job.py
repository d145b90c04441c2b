"""The job file of one training: what every rank reads, on every machine."""

import json
import math
from pathlib import Path
from typing import Self

from framework.build.training import Training
from framework.build.training.run import TrainingRun
from framework.core.component import Component
from framework.core.filesystem import write_whole
from framework.core.machine_rank import run_name

RANK_JOB = "tune.json"
"""The job's file name, in the step's scratch folder."""


class RankJob(Component):
    """A training option, its run, and what ranks need to open both."""

    training: Training
    run: TrainingRun
    plugins: tuple[str, ...]
    """The packages that options may come from."""
    run_name: str
    """Which run of a cluster's job this is; see ``framework.core.machine_rank``."""

    @classmethod
    def of(cls, training: Training, run: TrainingRun) -> Self:
        """Return the job of *training* on *run*, for this process's own cluster job."""
        plugins = {
            type(component).__module__.partition(".")[0]
            for option in (training, run)
            for component in option.walk()
        }
        folders = run.folders.resolved()
        return cls(
            training=training,
            run=run.model_copy(update={"folders": folders}),
            plugins=tuple(sorted(plugins)),
            run_name=run_name(),
        )

    @classmethod
    def read(cls, file: Path) -> Self:
        """Return the job that ``write`` wrote.

        Raises:
            FileNotFoundError: the training has ended.
        """
        content = json.loads(file.read_text(encoding="utf-8"))
        return cls.model_validate(content, context={"plugins": tuple(content["plugins"])})

    def write(self, file: Path) -> None:
        """Write the job as JSON, atomically."""
        write_whole(file, json.dumps(self.dump(), indent=1, sort_keys=True))

    @property
    def local_processes(self) -> int:
        """How many processes each machine starts."""
        return self.run.parallelism.processes // self.run.parallelism.nodes

    @property
    def grace(self) -> int:
        """Whole seconds that ranks have to save a checkpoint after SIGTERM."""
        return math.ceil(self.training.grace_seconds)
